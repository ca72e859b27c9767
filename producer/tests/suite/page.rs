//! The status page in a real browser, on a running producer. With `SCREENSHOT_DIR` set (`make
//! screenshot`) the same run photographs it, after so long that the line has a shape.

use crate::browser::Page;
use crate::support::{Files, home, producer};
use ha_kit::eventually;
use ha_simulator::Simulator;
use std::path::PathBuf;
use std::time::Duration;

/// A narrow phone, CSS pixels.
const PHONE: (u32, u32) = (360, 740);

#[tokio::test]
async fn the_page_is_live_fits_a_phone_and_says_when_the_home_is_away() {
    let (home, files) = (home().await, Files::new());
    let process = producer(&files.embedded(&home, "inline"));
    process.wait_until_ready().await;
    let firing = home.run_rate(40.0, None);
    let page = Page::open(&format!("http://{}/", process.admin_address().await)).await;
    page.resize(PHONE.0, PHONE.1, true).await;

    page.wait_until("document.querySelector('h1').innerText === 'Connected'")
        .await;
    page.wait_until("parseFloat(document.querySelector('#rate-out').innerText) > 5")
        .await;
    page.wait_until("document.querySelectorAll('#latest tr').length === 12")
        .await;
    assert_is_alive(&page).await;
    assert_fits(&page).await;
    assert_states_are_text(&page, &home).await;

    if let Some(folder) = std::env::var_os("SCREENSHOT_DIR") {
        photograph(&page, &home, PathBuf::from(folder)).await;
    }
    firing.abort();
    let away = tokio::spawn(async move {
        home.unreachable(Duration::from_secs(600)).await.unwrap();
    });
    page.wait_until("document.querySelector('h1').innerText === 'Disconnected'")
        .await;
    page.wait_until(
        "document.querySelector('#not-ready').innerText.includes('HOME_ASSISTANT_URL')",
    )
    .await;
    assert_fits(&page).await;
    away.abort();
    process.stop().await;
    page.wait_until("document.querySelector('h1').innerText === 'No answer'")
        .await;
}

/// Numbers that move by themselves.
async fn assert_is_alive(page: &Page) {
    let received = "document.querySelector('#cards').innerText.match(/of ([0-9,]+) received/)[1]";
    let before = page.evaluate(received).await;
    eventually("a number that moves", async || {
        (page.evaluate(received).await != before).then_some(())
    })
    .await;
    let text = page.text().await;
    for part in [
        "producer · home",
        "Latency, median",
        "Route",
        "passing",
        "Spool",
        "Dead letters",
    ] {
        assert!(text.contains(part), "no {part}:\n{text}");
    }
    page.wait_until("document.querySelectorAll('#sparkline [points]').length === 2")
        .await;
    // Of another mode than this producer's.
    let workers = "cards({workers: [{state: 'ready'}, {state: 'away', reason: 'nobody there'}]}), \
                   document.querySelector('#cards').innerText";
    let text = page.evaluate(workers).await;
    let text = text.as_str().unwrap();
    for part in ["Workers", "1 of 2", "nobody there"] {
        assert!(text.contains(part), "no {part}:\n{text}");
    }
}

/// No scrolling sideways, whatever the window.
async fn assert_fits(page: &Page) {
    let width = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    for (width_px, height_px, is_phone) in [(PHONE.0, PHONE.1, true), (900, 800, false)] {
        page.resize(width_px, height_px, is_phone).await;
        assert_eq!(page.evaluate("window.innerWidth").await, width_px);
        assert_eq!(page.evaluate(width).await, 0, "at {width_px} px");
    }
}

/// A state is text, whatever stands in it; and were it markup, the policy would not let it run.
async fn assert_states_are_text(page: &Page, home: &Simulator) {
    let state = "<script>window.taken = 1</script><img src=x onerror='window.taken = 1'>";
    let time = "2026-01-01T00:00:00+00:00";
    let event = serde_json::json!({
        "event_type": "state_changed", "time_fired": time,
        "data": {"entity_id": "sensor.hostile", "old_state": null, "new_state": {
            "entity_id": "sensor.hostile", "state": state, "attributes": {},
            "last_changed": time, "last_updated": time,
        }},
    });
    let event = event.to_string();
    // Others may push it off the list between two looks, so it is sent until it is seen.
    let seen = format!(
        "[...document.querySelectorAll('#latest td')].some(cell => cell.textContent === {})",
        serde_json::json!(state)
    );
    eventually("the state in the list", async || {
        home.inject_event(&event, false).unwrap();
        (page.evaluate(&seen).await == true).then_some(())
    })
    .await;
    assert_eq!(
        page.evaluate("document.querySelectorAll('main script, main img').length")
            .await,
        0
    );
    let run = "(() => { const s = document.createElement('script'); s.textContent = 'window.taken = 1'; \
        document.body.append(s); return window.taken === undefined; })()";
    assert_eq!(
        page.evaluate(run).await,
        true,
        "the policy lets a script run"
    );
}

/// A home whose rate rises and falls, for as long as the line is.
async fn photograph(page: &Page, home: &Simulator, folder: PathBuf) {
    for step in 0..92_u32 {
        let (slow, fast) = (f64::from(step) / 11.0, f64::from(step) / 2.3);
        home.set_rate(48.0 + 26.0 * slow.sin() + 7.0 * fast.sin());
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    std::fs::create_dir_all(&folder).unwrap();
    for (name, scheme) in [("status.png", "light"), ("status-dark.png", "dark")] {
        page.prefer(scheme).await;
        page.resize(900, 800, false).await;
        let height = page.evaluate("document.documentElement.scrollHeight").await;
        page.resize(900, height.as_u64().unwrap() as u32, false)
            .await;
        std::fs::write(folder.join(name), page.picture().await).unwrap();
    }
}
