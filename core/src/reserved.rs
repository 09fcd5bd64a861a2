// SPDX-License-Identifier: MPL-2.0
//! Which addresses the kept answers reserve, and for which requests.
//!
//! [`crate::cache`] tells it each answer that comes and goes. Kea asks by address, through the
//! adapter, before it gives the address to another client.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::answer::Answer;
use crate::request::Request;

/// The requests whose kept answers reserve an address, by address. A service that gives one address
/// to two clients is wrong, and nothing is lost: both requests stand here, the latest one last.
#[derive(Default)]
pub struct ReservedAddresses(HashMap<Ipv4Addr, Vec<Arc<Request>>>);

impl ReservedAddresses {
    /// An answer to `request` is kept from now on.
    pub fn add(&mut self, request: &Arc<Request>, answer: &Answer) {
        if let Some(address) = answer.ip_address {
            self.0.entry(address).or_default().push(Arc::clone(request));
        }
    }

    /// The answer to `request` is no longer kept.
    pub fn remove(&mut self, request: &Arc<Request>, answer: &Answer) {
        let Some(address) = answer.ip_address else { return };
        let Some(requests) = self.0.get_mut(&address) else { return };
        if let Some(index) = requests.iter().position(|kept| kept == request) {
            requests.remove(index);
        }
        if requests.is_empty() {
            self.0.remove(&address);
        }
    }

    /// The requests whose kept answers reserve this address, the latest one first.
    pub fn requests(&self, address: Ipv4Addr) -> impl Iterator<Item = &Arc<Request>> {
        self.0.get(&address).into_iter().flat_map(|requests| requests.iter().rev())
    }

    /// How many addresses are reserved.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no address is reserved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(number: u8) -> Arc<Request> {
        Arc::new(Request::new(vec![(1, vec![number])], Vec::new()).unwrap())
    }

    #[test]
    fn an_address_is_reserved_as_long_as_an_answer_says_so() {
        let address = Ipv4Addr::new(192, 0, 2, 77);
        let answer = Answer { ip_address: Some(address), ..Answer::default() };
        let (one, two) = (about(1), about(2));
        let mut reserved = ReservedAddresses::default();
        reserved.add(&one, &Answer::default());
        assert!(reserved.is_empty());
        reserved.add(&one, &answer);
        reserved.add(&two, &answer);
        let requests: Vec<_> = reserved.requests(address).collect();
        assert_eq!((requests, reserved.len()), (vec![&two, &one], 1));
        reserved.remove(&two, &answer);
        assert_eq!(reserved.requests(address).collect::<Vec<_>>(), [&one]);
        reserved.remove(&two, &answer);
        reserved.remove(&one, &Answer::default());
        assert_eq!(reserved.len(), 1);
        reserved.remove(&one, &answer);
        assert!(reserved.is_empty() && reserved.requests(address).next().is_none());
    }
}
