//! Secrets and the log: at no level, and by no directive, does a process print one.

use crate::commands::{binary, run};
use crate::support::{Files, Variables, producer, wait_until_settled, with};
use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ha_kit::{Place, Process, free_port};
use ha_services::Services;
use ha_simulator::{HouseOptions, Simulator, SimulatorOptions};
use reqwest::Method;
use serde_json::json;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// What each process has of these is its own affair; none may be in any log.
const HOME: &str = "home-token-Kq8mZ2vXw4Lr7Ny1";
const BROKER: &str = "br0ker/Secret+W9s@Tz5cVb3Hf6";
const DATABASE: &str = "database-Pq5Rt8Yw2Ux7Zb4Mc";
const INTAKE: &str = "intake-token-Gh6Jk9Mn3Df1Sa";
const COLLECTOR: &str = "collector-Lm4Np7Qr0Tv2Wx9Yz";
const WEATHER: &str = "weather-key-Bc8Fg1Hj5Kp3Vn";
const SECRETS: [&str; 7] = [
    HOME,
    BROKER,
    DATABASE,
    INTAKE,
    COLLECTOR,
    WEATHER,
    ha_services::INFLUXDB_TOKEN,
];

/// Each crate that carries a secret, and what stands below it.
const EACH_CRATE: &str = "info,log=trace,lapin=trace,lapin::channel=trace,amq_protocol=trace,\
                          tungstenite=trace,tungstenite::protocol=trace,tokio_tungstenite=trace,\
                          hyper=trace,hyper_util=trace,h2=trace,reqwest=trace,rustls=trace,\
                          opentelemetry=trace,opentelemetry_sdk=trace,opentelemetry-otlp=trace";

/// Bytes in the ways that they get into a log, by the name of the way.
fn forms(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let joined = |separator: &str, form: fn(&u8) -> String| {
        bytes.iter().map(form).collect::<Vec<_>>().join(separator)
    };
    let mut forms = vec![
        ("plain", String::from_utf8(bytes.to_vec()).unwrap()),
        (
            "percent-encoded",
            joined("", |byte| match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' => char::from(*byte).to_string(),
                _ => format!("%{byte:02X}"),
            }),
        ),
        ("hex", joined("", |byte| format!("{byte:02x}"))),
        ("hex", joined("", |byte| format!("{byte:02X}"))),
        ("hex", joined(" ", |byte| format!("{byte:02x}"))),
        ("hex", joined(", ", |byte| format!("0x{byte:02x}"))),
        ("escapes", joined("", |byte| format!("\\x{byte:02x}"))),
        ("a list of bytes", joined(", ", u8::to_string)),
        ("a list of bytes", joined(",", u8::to_string)),
    ];
    // Where it stands in the encoded text decides how it is encoded; what its neighbours have a
    // part in is left out.
    for before in 0..3 {
        let padded = [&vec![0; before][..], bytes].concat();
        let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for encoded in [STANDARD.encode(&padded), URL_SAFE.encode(&padded)] {
            forms.push(("base64", encoded[from..to].to_owned()));
        }
    }
    forms
}

/// The first line that shows this secret or a half of it, and how.
fn shown<'a>(secret: &str, output: &'a str) -> Option<(&'static str, &'a str)> {
    let bytes = secret.as_bytes();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let pieces = match bytes.len() {
        ..24 => vec![bytes],
        _ => vec![first, second],
    };
    let forms: Vec<_> = pieces.into_iter().flat_map(forms).collect();
    output.lines().find_map(|line| {
        let found = forms.iter().find(|(_, form)| line.contains(form));
        found.map(|(name, _)| (*name, line))
    })
}

#[test]
fn a_secret_is_found_in_whatever_form_it_is_shown() {
    let login = format!("\0user\0{BROKER}");
    for output in [
        format!("{{\"access_token\":\"{BROKER}\"}}"),
        "amqp://user:br0ker%2FSecret%2BW9s%40Tz5cVb3Hf6@broker".to_owned(),
        format!("Basic {}", STANDARD.encode(format!("user:{BROKER}"))),
        format!("Basic {}", STANDARD.encode(format!("use:{BROKER}"))),
        format!("Basic {}", STANDARD.encode(format!("us:{BROKER}"))),
        URL_SAFE.encode(&login),
        format!("{:?}", login.as_bytes()),
        format!("LongString({:?})", login),
        format!("cut off: {:?}", &login.as_bytes()[..25]),
        login.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ] {
        assert!(shown(BROKER, &output).is_some(), "{output}");
    }
    assert_eq!(shown(BROKER, "br0ker at amqp://127.0.0.1"), None);
}

/// A collector and a weather provider at once: takes everything, and keeps what it was shown.
async fn elsewhere() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<String>> = Arc::default();
    let see = async |State(seen): State<Arc<Mutex<String>>>, request: Request| {
        let line = format!("{} {:?}\n", request.uri(), request.headers());
        seen.lock().unwrap().push_str(&line);
    };
    let router = axum::Router::new()
        .fallback(see)
        .with_state(Arc::clone(&seen));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

/// A home, its producers in three modes, and a worker; every secret is in use somewhere.
struct Everything {
    home: Simulator,
    place: Place,
    amqp_url: String,
    seen: Arc<Mutex<String>>,
    producers: Vec<Process>,
    worker: Process,
    _files: Vec<Files>,
}

impl Everything {
    async fn start(filter: &str) -> Self {
        let place = Place::new().await;
        let home = SimulatorOptions {
            token: HOME.to_owned(),
            house: HouseOptions {
                entities: 100,
                ..HouseOptions::default()
            },
            ..SimulatorOptions::default()
        };
        let home = Simulator::start(home).await.unwrap();
        let user = Services::unique_name("user");
        let of_user = json!({"password": BROKER, "tags": "management"});
        let path = format!("users/{user}");
        let management = async |path: String, body| {
            let made = place.services.management(Method::PUT, &path, Some(body));
            made.await.unwrap();
        };
        management(path, of_user).await;
        let everything = json!({"configure": ".*", "write": ".*", "read": ".*"});
        management(format!("permissions/{}/{user}", place.vhost), everything).await;
        let password = BROKER.replace('/', "%2F").replace('+', "%2B");
        let login = format!("{user}:{}@", password.replace('@', "%40"));
        let amqp_url = place.amqp_url().replace("guest:guest@", &login);
        assert!(amqp_url.contains(&user));
        let (url, seen) = elsewhere().await;

        let port = free_port();
        let common: Variables = vec![
            ("RUST_LOG", filter.to_owned()),
            ("AMQP_URL", amqp_url.clone()),
            ("INTAKE_TOKEN", INTAKE.to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url.clone()),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                format!("authorization=Bearer {COLLECTOR}"),
            ),
            ("WEATHER_PROVIDER", "openweathermap".to_owned()),
            ("WEATHER_API_KEY", WEATHER.to_owned()),
            ("WEATHER_URL", url),
        ];
        let mut files = vec![Files::new()];
        let dead_letters = files[0].spool().display().to_string();
        let mut variables = common.clone();
        variables.extend([
            ("INFLUXDB_URL", place.services.influxdb_url()),
            ("INFLUXDB_API", "v1".to_owned()),
            ("INFLUXDB_BUCKET", place.database.clone()),
            ("INFLUXDB_USERNAME", "user".to_owned()),
            ("INFLUXDB_PASSWORD", DATABASE.to_owned()),
            ("INTAKE_ADDR", format!("127.0.0.1:{port}")),
            ("SPOOL_PATH", dead_letters),
        ]);
        let worker = Process::start(&binary("worker"), &["run"], &variables);
        worker.wait_until_ready().await;
        let mut producers = Vec::new();
        for mode in ["queue", "service", "inline"] {
            let of_mode = Files::new();
            let mut variables = of_mode.variables(&home, mode);
            variables.extend(common.clone());
            variables.extend(place.influxdb());
            let service = format!("http://127.0.0.1:{port}");
            let own = [
                ("INSTANCE_NAME", mode.to_owned()),
                ("ENRICHMENT_SERVICE_URL", service),
            ];
            producers.push(producer(&with(variables, &own)));
            files.push(of_mode);
        }
        let started = Self {
            home,
            place,
            amqp_url,
            seen,
            producers,
            worker,
            _files: files,
        };
        for process in &started.producers {
            process.wait_until_ready().await;
        }
        started
    }

    /// Events go through all of it.
    async fn use_it(&self) {
        self.home.fire(40);
        for process in &self.producers {
            wait_until_settled(process, &self.home).await;
        }
    }

    /// All that the processes printed; they have used their secrets.
    async fn stop(self) -> String {
        let mut output = String::new();
        for process in self.producers.into_iter().chain([self.worker]) {
            output.push_str(&process.stop().await);
        }
        assert!(self.place.points().await.len() >= 3 * 40);
        assert!(self.home.stats().authentications >= 3);
        let seen = self.seen.lock().unwrap();
        assert!(seen.contains(COLLECTOR) && seen.contains(WEATHER), "{seen}");
        output
    }
}

fn assert_nothing_is_shown(output: &str, filter: &str) {
    assert!(output.contains("health, metrics and status"), "{filter}");
    for secret in SECRETS {
        let found = shown(secret, output);
        assert_eq!(found, None, "{secret} at RUST_LOG={filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_printed_whatever_is_to_be_logged() {
    for filter in [
        "trace",
        EACH_CRATE,
        "[receive]=trace,lapin[x]=trace,[{peer}]=trace,trace",
    ] {
        let everything = Everything::start(filter).await;
        everything.use_it().await;
        let variables = [
            ("RUST_LOG", format!("{filter},lapin=trace")),
            ("AMQP_URL", everything.amqp_url.clone()),
            (
                "RABBITMQ_MANAGEMENT_URL",
                everything.place.services.rabbitmq_management_url(),
            ),
        ];
        let list = run("worker", &["dlq", "list"], &variables).await;
        assert_eq!(list.status.code(), Some(0), "{}", list.output);
        let output = everything.stop().await + &list.output;
        assert_nothing_is_shown(&output, filter);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_printed_after_a_change_of_the_log_level() {
    let everything = Everything::start("info").await;
    let filter = format!("{EACH_CRATE},trace");
    for process in everything.producers.iter().chain([&everything.worker]) {
        let changed = process.put("/log-level", &filter).await;
        assert_eq!(changed, (200, format!("{filter}\n")));
    }
    // From now on everybody logs in again.
    let before = everything.home.stats().authentications;
    everything.home.kill_all();
    let vhost = &everything.place.vhost;
    let close = ["close_all_connections", "--vhost", vhost, "test"];
    everything.place.services.rabbitmqctl(&close).await.unwrap();
    ha_kit::eventually("the producers to log in again", async || {
        (everything.home.stats().authentications >= before + 3).then_some(())
    })
    .await;
    everything.use_it().await;
    let output = everything.stop().await;
    assert!(output.contains("the log level was changed"), "{output}");
    assert_nothing_is_shown(&output, &filter);
}
