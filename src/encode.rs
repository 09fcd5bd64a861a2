// SPDX-License-Identifier: MPL-2.0
//! Answer → the payloads of its options, by Kea's definitions.
//!
//! An answer is encoded once for all replies that carry it. A client class may define options of
//! its own, so an answer is encoded anew for each query that is in such a class. Where a database
//! has a part of Kea's configuration, definitions change without a word, and nothing is kept.
//!
//! [`crate::reply`] calls it at pkt4_send, in packet threads.

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use cxx::UniquePtr;
use remote_opts_core::answer::length::{MAX_SUB_OPTION, wire_length};
use remote_opts_core::answer::{
    Answer, Change, Edit, OptionId, OptionValue, Reason, ends_option, is_of_the_protocol,
};

use crate::ffi::{self, Definition, Packet};
use crate::log::REMOPTS_ADDRESS_AS_TEXT;
use crate::well_known::{self, WellKnown};

/// Kea's name of the space of the options.
const DHCP4: &str = "dhcp4";
/// The code of the vendor specific information option (RFC 2132, section 8.4).
const VENDOR_OPTIONS: u8 = 43;
/// Kea's name of the space of option 43's sub-options, where no definition names another space.
const VENDOR_OPTIONS_SPACE: &str = "vendor-encapsulated-options-space";
/// Stands for the code of an option where a sub-option is encoded, which may have the code 43, too. No
/// option has this code (RFC 2132, section 3.1).
const NESTED: u8 = 0;

/// One edit, encoded.
#[derive(PartialEq)]
pub enum EncodedEdit {
    /// The edit changes no option.
    HeaderField,
    /// An option with this code and payload.
    Option(u8, Box<[u8]>),
    /// An option with this code, whose payload is the text of the edit: thousands of answers are
    /// kept, and the edit has the text already.
    Text(u8),
    /// The option of this code is removed.
    Removal(u8),
    /// The edit cannot be encoded, for this reason.
    Refused(Box<str>),
}

impl EncodedEdit {
    /// The code and the payload of the option that the edit brings; `None` where it brings none.
    /// `edit` is the edit that was encoded.
    pub fn option<'a>(&'a self, edit: &'a Edit) -> Option<(u8, &'a [u8])> {
        match (self, &edit.change) {
            (EncodedEdit::Option(code, payload), _) => Some((*code, payload)),
            (EncodedEdit::Text(code), Change::Option(_, OptionValue::Text(text))) => {
                Some((*code, text.as_bytes()))
            }
            _ => None,
        }
    }

    /// How many bytes the edit adds to a reply at the most. `edit` is the edit that was encoded.
    pub fn length(&self, edit: &Edit) -> usize {
        self.option(edit).map_or(0, |(_, payload)| wire_length(payload.len(), 0))
    }
}

/// The encoded edits of an answer, in the order of its edits.
pub type EncodedEdits = Box<[EncodedEdit]>;

/// An answer's edits as one configuration of Kea encodes them.
#[derive(PartialEq)]
struct Kept {
    configuration: u64,
    edits: EncodedEdits,
}

/// The edits that were encoded last, for some answers. Where answers have texts for the same options,
/// their encoded edits are equal, and thousands of answers share them. Any thread.
#[derive(Default)]
pub struct Latest(Mutex<VecDeque<Arc<Kept>>>);

impl Latest {
    /// How many are remembered: one server has few kinds of machines.
    const MOST: usize = 8;

    /// The same edits, shared with an earlier answer whose edits are equal.
    fn shared(&self, kept: Kept) -> Arc<Kept> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(equal) = latest.iter().find(|earlier| ***earlier == kept) {
            return Arc::clone(equal);
        }
        let kept = Arc::new(kept);
        latest.truncate(Self::MOST - 1);
        latest.push_front(Arc::clone(&kept));
        kept
    }
}

/// The sub-options of which a line has said that they look like addresses and are sent as text: the
/// code of the option, and the code of the sub-option. Any thread.
#[derive(Default)]
pub struct AddressesAsText(Mutex<HashSet<(u8, u8)>>);

/// Encodes answers for one query.
pub struct Encoder<'a> {
    /// The query: its client classes may define options.
    pub query: &'a Packet,
    /// The number of the present configuration: another one may have other definitions. Without it
    /// nothing is kept.
    pub configuration: Option<u64>,
    /// For lines about sub-options.
    pub addresses_as_text: &'a AddressesAsText,
    /// What the answers share.
    pub latest: &'a Latest,
}

/// Who says how an option or a sub-option is encoded.
enum Defined {
    /// A definition of Kea's own kind.
    ByKea(UniquePtr<Definition>),
    /// The library itself.
    Here(&'static WellKnown),
    /// Nobody.
    Nowhere,
}

impl Encoder<'_> {
    /// Calls `write` with the encoded edits of an answer.
    pub fn with_encoded(&self, answer: &Answer, write: impl FnOnce(&EncodedEdits)) {
        // Where Kea cannot tell, the answer is encoded for this query alone.
        let has_class_definitions = || ffi::has_class_definitions(self.query).unwrap_or(true);
        let Some(configuration) = self.configuration.filter(|_| !has_class_definitions()) else {
            return write(&self.encode_all(answer));
        };
        let kept = answer.encoded.get::<Kept>();
        let kept = kept.filter(|kept| kept.configuration == configuration).unwrap_or_else(|| {
            let edits = self.encode_all(answer);
            let kept = self.latest.shared(Kept { configuration, edits });
            answer.encoded.set(Arc::clone(&kept));
            kept
        });
        write(&kept.edits);
    }

    fn encode_all(&self, answer: &Answer) -> EncodedEdits {
        let encoded = |change: &Change| match change {
            Change::Option(id, value) => self
                .option(id, value)
                .unwrap_or_else(|reason| EncodedEdit::Refused(reason.to_string().into())),
            Change::NextServer(_) | Change::ServerHostname(_) | Change::BootFileName(_) => {
                EncodedEdit::HeaderField
            }
        };
        answer.edits.iter().map(|edit| encoded(&edit.change)).collect()
    }

    fn option(&self, id: &OptionId, value: &OptionValue) -> Result<EncodedEdit, Box<dyn Error>> {
        let (code, defined) = self.find(DHCP4, id)?;
        if is_of_the_protocol(code) {
            return Err(Reason::Protocol.into());
        }
        if *value == OptionValue::Removed {
            return Ok(EncodedEdit::Removal(code));
        }
        let payload = self.payload(code, &defined, value)?;
        Ok(match value {
            OptionValue::Text(text) if *payload == *text.as_bytes() => EncodedEdit::Text(code),
            _ => EncodedEdit::Option(code, payload.into()),
        })
    }

    /// The code of an option (in the space "dhcp4") or sub-option, and who says how it is encoded. An
    /// empty space is a space that no definition names, so that nothing is defined in it.
    fn find(&self, space: &str, id: &OptionId) -> Result<(u8, Defined), Box<dyn Error>> {
        let by_kea = match id {
            OptionId::Code(_) if space.is_empty() => UniquePtr::null(),
            OptionId::Code(code) => ffi::definition_by_code(self.query, space, u16::from(*code))?,
            OptionId::Name(name) => ffi::definition_by_name(self.query, space, name)?,
        };
        if let Some(definition) = by_kea.as_ref() {
            let code = u8::try_from(definition.code()?).map_err(|_| Reason::NoCode)?;
            return Ok((code, Defined::ByKea(by_kea)));
        }
        if let Some(option) = well_known::find(id).filter(|_| space == DHCP4) {
            let definition = option.definition()?;
            return Ok((option.code, definition.map_or(Defined::Here(option), Defined::ByKea)));
        }
        match id {
            OptionId::Code(code) => Ok((*code, Defined::Nowhere)),
            OptionId::Name(_) => Err(Reason::NoName.into()),
        }
    }

    /// The payload of the option or sub-option of this code with this value.
    fn payload(
        &self,
        code: u8,
        defined: &Defined,
        value: &OptionValue,
    ) -> Result<Vec<u8>, Box<dyn Error>> {
        match defined {
            Defined::ByKea(definition) => self.by_definition(code, definition, value),
            Defined::Here(option) => not_empty(option.encode(value)?),
            Defined::Nowhere => match value {
                OptionValue::Text(text) | OptionValue::Scalar(text) => {
                    not_empty(text.as_bytes().to_vec())
                }
                OptionValue::Bytes(bytes) => not_empty(bytes.to_vec()),
                OptionValue::SubOptions(members) => {
                    self.sub_options(code, sub_option_space(code, ""), members)
                }
                OptionValue::Fields(_) | OptionValue::Removed => Err(Reason::NoDefinition.into()),
            },
        }
    }

    fn by_definition(
        &self,
        code: u8,
        definition: &Definition,
        value: &OptionValue,
    ) -> Result<Vec<u8>, Box<dyn Error>> {
        let has_no_value = definition.is_empty()?;
        let mut payload = Vec::new();
        match value {
            OptionValue::Bytes(bytes) => payload.extend_from_slice(bytes),
            // A definition of one text does not split the text at its commas.
            OptionValue::Text(text) | OptionValue::Scalar(text) if definition.is_text()? => {
                payload.extend_from_slice(text.as_bytes());
            }
            // An option that has only sub-options takes them in one piece.
            OptionValue::Text(text)
                if has_no_value && !definition.sub_option_space()?.is_empty() =>
            {
                payload.extend_from_slice(text.as_bytes());
            }
            OptionValue::Text(text) => definition.encode_text(text, &mut payload)?,
            OptionValue::Scalar(text) => definition.encode(&[text.to_string()], &mut payload)?,
            OptionValue::Fields(fields) => {
                let most = definition.most_values()?;
                if fields.len() > most {
                    return Err(Reason::LongList(most, fields.len()).into());
                }
                definition.encode(fields, &mut payload)?;
            }
            OptionValue::SubOptions(_) if !has_no_value => return Err(Reason::HasValue.into()),
            OptionValue::SubOptions(members) => {
                let space = definition.sub_option_space()?;
                return self.sub_options(code, sub_option_space(code, &space), members);
            }
            OptionValue::Removed => return Err(Reason::NoRemoval.into()),
        }
        if has_no_value { Ok(payload) } else { not_empty(payload) }
    }

    /// Sub-options of this space, as the payload of the option of this code, in the order of their
    /// codes. The error names the sub-option that cannot be encoded.
    fn sub_options(
        &self,
        code: u8,
        space: &str,
        members: &[(OptionId, OptionValue)],
    ) -> Result<Vec<u8>, Box<dyn Error>> {
        let mut encoded: Vec<(u8, Vec<u8>)> = Vec::with_capacity(members.len());
        for (id, value) in members {
            let (sub_code, bytes) = self
                .sub_option(code, space, id, value)
                .map_err(|reason| format!("sub-option {id}: {reason}"))?;
            if encoded.iter().any(|(other, _)| *other == sub_code) {
                return Err(format!("sub-option {id}: {}", Reason::Twice).into());
            }
            encoded.push((sub_code, bytes));
        }
        encoded.sort_by_key(|(sub_code, _)| *sub_code);
        Ok(encoded.into_iter().flat_map(|(_, bytes)| bytes).collect())
    }

    /// The code of one sub-option, and its bytes: code, length and payload.
    fn sub_option(
        &self,
        code: u8,
        space: &str,
        id: &OptionId,
        value: &OptionValue,
    ) -> Result<(u8, Vec<u8>), Box<dyn Error>> {
        let (sub_code, defined) = self.find(space, id)?;
        if ends_option(code, sub_code) {
            let end = value.is_empty().then(|| (sub_code, vec![sub_code]));
            return end.ok_or(Reason::EndHasValue.into());
        }
        if let (Defined::Nowhere, OptionValue::Text(text)) = (&defined, value) {
            self.addresses_as_text.look(code, sub_code, text);
        }
        let payload = self.payload(NESTED, &defined, value)?;
        if payload.len() > MAX_SUB_OPTION {
            return Err(Reason::LongSubOption.into());
        }
        // A payload of at most 253 bytes has its length in one byte.
        let header = [sub_code, payload.len() as u8];
        Ok((sub_code, [&header[..], &payload].concat()))
    }
}

impl AddressesAsText {
    /// Says once of a sub-option without a definition that its address is sent as text.
    fn look(&self, code: u8, sub_code: u8, text: &str) {
        if text.parse::<Ipv4Addr>().is_err() {
            return;
        }
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert((code, sub_code)) {
            drop(said);
            REMOPTS_ADDRESS_AS_TEXT.info([&code, &sub_code, &text]);
        }
    }
}

/// Refuses an option without a payload. Such an option is well-formed only where its definition
/// says so (RFC 2132, section 2).
fn not_empty(payload: Vec<u8>) -> Result<Vec<u8>, Box<dyn Error>> {
    if payload.is_empty() { Err(Reason::Empty.into()) } else { Ok(payload) }
}

/// The space of the sub-options of the option of this code, whose definition names the space
/// `defined`, or no space (empty).
fn sub_option_space(code: u8, defined: &str) -> &str {
    if defined.is_empty() && code == VENDOR_OPTIONS { VENDOR_OPTIONS_SPACE } else { defined }
}

#[cfg(test)]
mod tests {
    use remote_opts_core::answer::parse;

    use super::*;

    #[test]
    fn equal_edits_are_kept_once() {
        let kept = |configuration, code, payload: &[u8]| {
            let edits = [EncodedEdit::Text(66), EncodedEdit::Option(code, payload.into())];
            Kept { configuration, edits: edits.into() }
        };
        let latest = Latest::default();
        let first = latest.shared(kept(1, 67, b"x"));
        for (configuration, code, payload) in [(2, 67, b"x"), (1, 224, b"x"), (1, 67, b"y")] {
            let shared = latest.shared(kept(configuration, code, payload));
            assert!(*shared == kept(configuration, code, payload));
            assert!(Arc::ptr_eq(&first, &latest.shared(kept(1, 67, b"x"))));
        }
        (0..100).for_each(|code| drop(latest.shared(kept(3, code, b""))));
        assert_eq!(latest.0.lock().unwrap().len(), Latest::MOST);
        assert!(!Arc::ptr_eq(&first, &latest.shared(kept(1, 67, b"x"))));
    }

    #[test]
    fn a_text_is_the_payload_of_its_option() {
        for text in ["", "x", &"x".repeat(300)] {
            let body = format!(r#"{{"66": "{text}", "next-server": "192.0.2.1"}}"#);
            let answer = parse(body.as_bytes()).unwrap();
            let is_option = |edit: &&Edit| matches!(edit.change, Change::Option(..));
            let edit = answer.edits.iter().find(is_option).unwrap();
            let encoded = EncodedEdit::Text(66);
            assert_eq!(encoded.option(edit), Some((66, text.as_bytes())));
            assert_eq!(encoded.length(edit), wire_length(text.len(), 0));
            let other = answer.edits.iter().find(|edit| !is_option(edit)).unwrap();
            assert_eq!(EncodedEdit::HeaderField.option(other), None);
            assert_eq!(EncodedEdit::HeaderField.length(other), 0);
        }
    }
}
