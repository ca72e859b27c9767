//! Names to targets, again and again.

use super::options::ClientOptions;
use super::target::Target;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::{Host, Url};

/// The pause while there is no address at all.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(500);

/// For one name: a name server that does not answer must not stop the others' names.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the names stand for.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub targets: Arc<[Arc<Target>]>,
    /// Why there is none, or not all.
    pub error: Option<String>,
}

impl Resolved {
    /// An attempt was made.
    pub fn is_known(&self) -> bool {
        !self.targets.is_empty() || self.error.is_some()
    }
}

/// Ends the task with its owner.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts to resolve.
pub(crate) fn start(options: ClientOptions) -> (watch::Receiver<Resolved>, AbortOnDrop) {
    let (sender, receiver) = watch::channel(Resolved {
        targets: Arc::new([]),
        error: None,
    });
    let task = tokio::spawn(async move {
        loop {
            let before = Arc::clone(&sender.borrow().targets);
            let resolved = resolve(&options, &before).await;
            let known = !resolved.targets.is_empty();
            sender.send_replace(resolved);
            tokio::time::sleep(if known {
                options.resolve_every
            } else {
                UNKNOWN_PAUSE
            })
            .await;
        }
    });
    (receiver, AbortOnDrop(task))
}

/// Targets whose address is the same stay, with their connections and breakers. A name that cannot
/// be resolved keeps the addresses that it had.
async fn resolve(options: &ClientOptions, before: &[Arc<Target>]) -> Resolved {
    let mut targets: Vec<Arc<Target>> = Vec::new();
    let mut error = None;
    for url in &options.urls {
        match addresses(url, options).await {
            Ok(addresses) => {
                for address in addresses {
                    let same = |target: &&Arc<Target>| target.is(url, address);
                    if targets.iter().any(|target| same(&target)) {
                        continue;
                    }
                    match before.iter().find(same) {
                        Some(target) => targets.push(Arc::clone(target)),
                        None => match Target::new(url, address, options) {
                            Ok(target) => targets.push(Arc::new(target)),
                            Err(reason) => error = Some(reason),
                        },
                    }
                }
            }
            Err(reason) => {
                targets.extend(before.iter().filter(|target| target.is_of(url)).cloned());
                error = Some(reason);
            }
        }
    }
    Resolved {
        targets: targets.into(),
        error,
    }
}

async fn addresses(url: &Url, options: &ClientOptions) -> Result<Vec<SocketAddr>, String> {
    let port = url.port_or_known_default().unwrap_or(80);
    let name = match url.host() {
        Some(Host::Ipv4(address)) => return Ok(vec![(address, port).into()]),
        Some(Host::Ipv6(address)) => return Ok(vec![(address, port).into()]),
        Some(Host::Domain(name)) => name,
        None => return Err("no host".to_owned()),
    };
    if let Some(known) = options.known_names.get(name) {
        return Ok(known
            .iter()
            .map(|address| (*address, port).into())
            .collect());
    }
    match tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(addresses)) => {
            let mut addresses: Vec<_> = addresses.collect();
            addresses.sort_unstable();
            Ok(addresses)
        }
        Ok(Err(error)) => Err(format!("{name}: {error}")),
        Err(_) => Err(format!("{name}: the name server did not answer")),
    }
}
