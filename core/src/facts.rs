// SPDX-License-Identifier: MPL-2.0
//! Names and their values in one piece of memory: the facts about a client of which a request is
//! made.
//!
//! Each packet makes a request, and thousands are kept. As a list of lists, a request took three
//! times the memory. [`crate::request`] is the one module that calls this module.

/// The bytes of a length.
const LENGTH: usize = size_of::<u32>();

/// The bytes for which the first name makes room: enough for most clients.
const ROOM: usize = 64;

/// Names and values, in the order in which they were added. Two are equal where both have the same
/// names and values in the same order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Facts(Vec<u8>);

impl Facts {
    /// Adds a name with its value. Each has less than 4 GiB: they come from a packet, a command, or a
    /// line of the file of kept answers.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let Facts(bytes) = self;
        if bytes.capacity() == 0 {
            bytes.reserve(ROOM);
        }
        bytes.reserve(2 * LENGTH + name.len() + value.len());
        bytes.extend_from_slice(&length(name.len()));
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&length(value.len()));
        bytes.extend_from_slice(value);
    }

    /// Adds a name with the value that `read` appends to the bytes that it is given. Adds nothing
    /// where `read` returns false or an error. The error is passed on.
    pub fn add<E>(
        &mut self,
        name: &[u8],
        read: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let before = self.0.len();
        self.push(name, &[]);
        let Facts(bytes) = self;
        let begin = bytes.len();
        let is_read = read(bytes);
        if matches!(is_read, Ok(true)) {
            let value = length(bytes.len() - begin);
            bytes[begin - LENGTH..begin].copy_from_slice(&value);
        } else {
            bytes.truncate(before);
        }
        is_read.map(drop)
    }

    /// The names and values as [`iter`] takes them.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As [`Facts::bytes`], in no more memory than they need.
    pub fn into_bytes(self) -> Box<[u8]> {
        self.0.into_boxed_slice()
    }
}

/// The length of a name or a value, as it stands before the bytes.
fn length(bytes: usize) -> [u8; LENGTH] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_ne_bytes()
}

/// The names and values that a [`Facts`] has made into these bytes.
pub fn iter(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || Some((next(&mut bytes)?, next(&mut bytes)?)))
}

/// Takes the first name or value from the bytes. `None` at the end.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (first, rest) = rest.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
    *bytes = rest;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_in_its_order() {
        let mut facts = Facts::default();
        facts.push(b"mac", b"02:0c");
        facts.push(b"", b"");
        let mut add = |name: &[u8], is_read: Result<bool, u8>| {
            facts.add(name, |value| {
                value.extend(b"abc");
                is_read
            })
        };
        assert_eq!(add(b"read", Ok(true)), Ok(()));
        assert_eq!(add(b"absent", Ok(false)), Ok(()));
        assert_eq!(add(b"failed", Err(7)), Err(7));
        facts.push(b"last", &[7; 70_000]);
        let expected: [(&[u8], &[u8]); 4] =
            [(b"mac", b"02:0c"), (b"", b""), (b"read", b"abc"), (b"last", &[7; 70_000])];
        assert_eq!(iter(facts.bytes()).collect::<Vec<_>>(), expected);
        assert_eq!(iter(&facts.into_bytes()).count(), 4);
        assert_eq!(iter(&[]).count(), 0);
    }

    #[test]
    fn what_stands_apart_is_not_equal() {
        let facts = |all: &[(&[u8], &[u8])]| {
            let mut facts = Facts::default();
            all.iter().for_each(|(name, value)| facts.push(name, value));
            facts
        };
        assert_eq!(facts(&[(b"a", b"bc")]), facts(&[(b"a", b"bc")]));
        assert_ne!(facts(&[(b"a", b"bc")]), facts(&[(b"ab", b"c")]));
        assert_ne!(facts(&[(b"a", b"b"), (b"c", b"")]), facts(&[(b"a", b"bc")]));
    }
}
