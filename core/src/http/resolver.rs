// SPDX-License-Identifier: MPL-2.0
//! Addresses of names, by the system's resolver.
//!
//! The resolver may hang for a name, and nobody can interrupt it. So each look-up has a thread of
//! its own, and a name has at most one look-up under way: a name that hangs keeps one thread, and no
//! other name waits for it. The requests of one name wait for its look-up together, each within its
//! own time.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;

use hyper_util::client::legacy::connect::dns;
use nix::errno::Errno;
use reqwest::dns::{Addrs, Resolve, Resolving};
use thiserror::Error as ThisError;
use tokio::sync::watch;
use tower_service::Service;

use super::is_congestion_code;

/// The resolver of all configurations. A look-up that hangs outlives a reload, and the next
/// configuration does not begin another one.
static SYSTEM: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(system));

/// What the port of an address is before the port of the URL takes its place.
const NO_PORT: u16 = 0;

/// The addresses of a name, or why there are none.
type Found = Result<Arc<[SocketAddr]>, LookUpError>;

/// A look-up under way: `None`, then what it has found.
type LookUp = watch::Receiver<Option<Found>>;

/// Resolves names. Clones share the look-ups under way.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

/// Finds the addresses of one name. Blocks.
type LookUpName = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

struct Shared {
    look_up: Box<LookUpName>,
    /// The look-ups under way, by name. As many as there are names in the parameter `url`.
    under_way: Mutex<HashMap<Box<str>, LookUp>>,
}

/// An error of the system's, for each of the requests that share a look-up.
#[derive(Debug, Clone, ThisError)]
#[error("{text}")]
pub struct LookUpError {
    /// The number of the system's error, where it has one.
    code: Option<i32>,
    kind: io::ErrorKind,
    text: String,
}

impl From<io::Error> for LookUpError {
    fn from(error: io::Error) -> Self {
        LookUpError { code: error.raw_os_error(), kind: error.kind(), text: error.to_string() }
    }
}

impl From<LookUpError> for io::Error {
    fn from(LookUpError { code, kind, text }: LookUpError) -> Self {
        match code {
            // The number tells that this machine is to blame.
            Some(code) if is_congestion_code(code) => io::Error::from_raw_os_error(code),
            _ => io::Error::new(kind, LookUpError { code, kind, text }),
        }
    }
}

fn system(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((name, NO_PORT).to_socket_addrs()?.collect())
}

impl Resolver {
    /// The system's resolver.
    pub fn system() -> Self {
        SYSTEM.clone()
    }

    fn new(look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Resolver(Arc::new(Shared { look_up: Box::new(look_up), under_way: Mutex::default() }))
    }

    /// The addresses of a name. The error is the system's. On the runtime's thread: the thread of a
    /// look-up inherits that it gets no signals.
    ///
    /// Cancel-safe: dropped, the look-up goes on for other requests.
    async fn addresses(self, name: Box<str>) -> io::Result<Arc<[SocketAddr]>> {
        let mut look_up = self.join(name)?;
        let found = look_up.wait_for(Option::is_some).await;
        let found = found.ok().and_then(|found| found.clone());
        // Without a result, the look-up has ended by a bug.
        let found = found.ok_or_else(|| io::Error::other("the look-up has ended by a bug"))?;
        Ok(found?)
    }

    /// The look-up under way, else a new one.
    fn join(&self, name: Box<str>) -> io::Result<LookUp> {
        let mut under_way = self.0.under_way();
        // A look-up that has ended by a bug serves nobody.
        if let Some(look_up) = under_way.get(&name).filter(|look_up| look_up.has_changed().is_ok())
        {
            return Ok(look_up.clone());
        }
        let (sender, receiver) = watch::channel(None);
        let (shared, own) = (Arc::clone(&self.0), name.clone());
        let spawned = thread::Builder::new().name("remote-opts-dns".into()).spawn(move || {
            let found = (shared.look_up)(&own).map(Arc::from).map_err(LookUpError::from);
            // The next request begins another look-up: the system knows how long addresses serve.
            shared.under_way().remove(&own);
            // The error says that nobody waits any more.
            let _ = sender.send(Some(found));
        });
        // The system's own number, EAGAIN, means other things elsewhere. This machine is to blame.
        spawned.map_err(|_| io::Error::from(Errno::ENOMEM))?;
        under_way.insert(name, receiver.clone());
        Ok(receiver)
    }
}

impl Shared {
    fn under_way(&self) -> MutexGuard<'_, HashMap<Box<str>, LookUp>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For the connections of HTTP/1.1, which reqwest makes.
impl Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> Resolving {
        let addresses = self.clone().addresses(name.as_str().into());
        Box::pin(async move {
            let addresses = addresses.await?.to_vec();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// For the connections of HTTP/2.
impl Service<dns::Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: dns::Name) -> Self::Future {
        let addresses = self.clone().addresses(name.as_str().into());
        Box::pin(async move { Ok(addresses.await?.to_vec().into_iter()) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const ADDRESS: ([u8; 4], u16) = ([192, 0, 2, 1], NO_PORT);

    /// A resolver that hangs for the name "hangs" until the sender is dropped, and counts look-ups.
    fn hanging() -> (Resolver, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (sender, receiver) = mpsc::channel::<()>();
        let (receiver, count) = (Mutex::new(receiver), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&count);
        let resolver = Resolver::new(move |name| {
            counted.fetch_add(1, Ordering::SeqCst);
            if name == "hangs" {
                // The error says that the test lets go.
                let _ = receiver.lock().unwrap().recv();
            }
            Ok(vec![ADDRESS.into()])
        });
        (resolver, sender, count)
    }

    #[tokio::test]
    async fn a_name_that_hangs_has_one_look_up_and_delays_no_other_name() {
        let (resolver, hold, count) = hanging();
        let hanging: Vec<_> =
            (0..100).map(|_| tokio::spawn(resolver.clone().addresses("hangs".into()))).collect();
        // A request that does not wait any more ends nothing.
        let late = resolver.clone().addresses("hangs".into());
        assert!(timeout(Duration::from_millis(50), late).await.is_err());
        for _ in 0..3 {
            let addresses = resolver.clone().addresses("good".into()).await.unwrap();
            assert_eq!(*addresses, [ADDRESS.into()]);
        }
        assert_eq!(count.load(Ordering::SeqCst), 1 + 3);
        drop(hold);
        for addresses in hanging {
            assert_eq!(*addresses.await.unwrap().unwrap(), [ADDRESS.into()]);
        }
        // The next request asks again.
        resolver.clone().addresses("hangs".into()).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 1 + 3 + 1);
    }

    #[tokio::test]
    async fn each_request_learns_why_there_is_no_address() {
        let resolver = Resolver::new(|name| match name {
            "congested" => Err(io::Error::from_raw_os_error(Errno::EMFILE as i32)),
            "bug" => panic!("a bug"),
            _ => Err(io::Error::other("no such name")),
        });
        for _ in 0..2 {
            let error = resolver.clone().addresses("congested".into()).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::EMFILE as i32));
            let error = resolver.clone().addresses("unknown".into()).await.unwrap_err();
            assert_eq!(error.to_string(), "no such name");
            let error = resolver.clone().addresses("bug".into()).await.unwrap_err();
            assert_eq!(error.to_string(), "the look-up has ended by a bug");
        }
    }
}
