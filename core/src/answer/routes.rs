// SPDX-License-Identifier: MPL-2.0
//! Routes as text → the payload of the classless static route option (option 121, RFC 3442), for a
//! Kea that has no definition of it.
//!
//! The text is the text that later versions of Kea take in option-data (Kea manual, "DHCPv4
//! Classless Static Route Option").

use std::net::Ipv4Addr;

use super::Reason;

/// The payload for routes such as `10.0.0.0/8 - 192.0.2.1, 0.0.0.0/0 - 192.0.2.254`.
pub fn encode(text: &str) -> Result<Vec<u8>, Reason> {
    let routes = text.split(',').map(|route| encode_one(route).ok_or(Reason::NoRoutes));
    Ok(routes.collect::<Result<Vec<_>, _>>()?.concat())
}

/// One route: the length of the prefix in bits, the bytes of the prefix that count, and the router.
fn encode_one(route: &str) -> Option<Vec<u8>> {
    let (prefix, router) = route.split_once('-')?;
    let (address, length) = prefix.trim().split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let length: u8 = length.parse().ok().filter(|length| *length <= 32)?;
    let router: Ipv4Addr = router.trim().parse().ok()?;
    let counted = usize::from(length.div_ceil(8));
    let mut route = vec![length];
    route.extend_from_slice(&address.octets()[..counted]);
    route.extend_from_slice(&router.octets());
    Some(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_rfc_3442() {
        for (text, payload) in [
            ("10.0.0.0/8 - 192.0.2.1", &[8, 10, 192, 0, 2, 1][..]),
            ("10.17.0.0/16-192.0.2.1", &[16, 10, 17, 192, 0, 2, 1]),
            ("10.229.0.128/25 - 10.229.0.1", &[25, 10, 229, 0, 128, 10, 229, 0, 1]),
            ("0.0.0.0/0 - 192.0.2.1", &[0, 192, 0, 2, 1]),
            (
                " 10.0.0.0/8 - 192.0.2.1 , 0.0.0.0/0 - 1.2.3.4",
                &[8, 10, 192, 0, 2, 1, 0, 1, 2, 3, 4],
            ),
        ] {
            assert_eq!(encode(text).as_deref(), Ok(payload), "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_routes() {
        for text in [
            "",
            "10.0.0.0/8",
            "10.0.0.0 - 192.0.2.1",
            "10.0.0.0/33 - 192.0.2.1",
            "10.0.0.0/8 - 192.0.2.1,",
            "10.0.0/8 - 192.0.2.1",
            "10.0.0.0/8 - router",
            "2001:db8::/32 - 2001:db8::1",
        ] {
            assert_eq!(encode(text), Err(Reason::NoRoutes), "{text}");
        }
    }
}
