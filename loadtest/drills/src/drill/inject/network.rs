//! Faults of the network.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use loadtest_engine::proxy::Network;
use loadtest_engine::topology::Link;

use crate::drill::context::Context;
use crate::drill::not_possible::NotPossible;

/// Of a hundred packets.
const LOST: u32 = 5;

/// A table of nftables; taken away when it is dropped, and when this process ends in any way.
struct Rules {
    table: String,
    guard: Child,
}

impl Rules {
    /// Loses packets from and to these ports of the loopback interface.
    fn lose(ports: &[u16]) -> anyhow::Result<Self> {
        let table = format!("ha_loadtest_{}", std::process::id());
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let ports = ports.join(", ");
        let lossy = |end: &str| {
            format!("iif lo tcp {end} {{ {ports} }} numgen random mod 100 < {LOST} counter drop\n")
        };
        let rules = format!(
            "table inet {table} {{\n chain input {{\n type filter hook input priority 0;\n {}{} }}\n}}\n",
            lossy("dport"),
            lossy("sport"),
        );
        // It ends with its standard input, however this process ends.
        let script = format!("trap '' INT TERM HUP; cat >/dev/null; nft delete table inet {table}");
        let mut guard = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting sh")?;
        let refused = match apply(&rules) {
            Ok(None) => return Ok(Self { table, guard }),
            Ok(Some(words)) => words,
            Err(error) => error.to_string(),
        };
        drop(guard.stdin.take());
        let _ = guard.wait();
        bail!(NotPossible(format!(
            "packets cannot be lost by nftables ({refused}); that needs root, CAP_NET_ADMIN and \
             the Debian package nftables"
        )))
    }
}

impl Rules {
    /// Packets lost so far.
    fn lost(&self) -> anyhow::Result<u64> {
        let listed = Command::new("nft")
            .args(["list", "table", "inet", &self.table])
            .output()?;
        let text = String::from_utf8_lossy(&listed.stdout);
        Ok(packets(&text))
    }
}

/// The sum of the counters in a listing.
fn packets(listing: &str) -> u64 {
    let words: Vec<&str> = listing.split_whitespace().collect();
    words
        .windows(2)
        .filter(|pair| pair[0] == "packets")
        .filter_map(|pair| pair[1].parse::<u64>().ok())
        .sum()
}

impl Drop for Rules {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// What nft said, if it refused.
fn apply(rules: &str) -> std::io::Result<Option<String>> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(rules.as_bytes())?;
    }
    let output = nft.wait_with_output()?;
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((!output.status.success()).then_some(words))
}

impl Context<'_> {
    pub(super) async fn network(
        &mut self,
        links: &[Link],
        network: Network,
        lasts: Duration,
    ) -> anyhow::Result<()> {
        self.harness.links().set_network(links, network);
        let held = self.hold(lasts).await;
        self.harness.links().set_network(links, Network::Open);
        held
    }

    pub(super) async fn lose_packets(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let rules = Rules::lose(&self.harness.links().ports())?;
        self.hold(lasts).await?;
        let lost = rules.lost()?;
        drop(rules);
        ensure!(lost > 0, "the rules of nftables lost no packet");
        self.progress.step(&format!("{lost} packets were lost"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::packets;

    #[test]
    fn counters_are_summed() {
        let listing = "tcp dport { 1, 2 } numgen random mod 100 < 5 counter packets 7 bytes 400 drop\n\
                       tcp sport { 1, 2 } numgen random mod 100 < 5 counter packets 30 bytes 9 drop";
        assert_eq!(packets(listing), 37);
        assert_eq!(packets(""), 0);
    }
}
