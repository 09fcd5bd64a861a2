// SPDX-License-Identifier: MPL-2.0
//! Answer → the payloads of its options, by Kea's definitions.
//!
//! An answer is encoded once for all replies that carry it. A client class may define options of
//! its own, so an answer is encoded anew for each query that is in such a class. Where a database
//! has a part of Kea's configuration, definitions change without a word, and nothing is kept.
//!
//! [`crate::reply`] calls it at pkt4_send, in packet threads.

use std::error::Error;
use std::sync::Arc;

use cxx::UniquePtr;
use remote_opts_core::answer::length::MAX_SUB_OPTION;
use remote_opts_core::answer::{Answer, Change, OptionId, OptionValue, Reason, is_of_the_protocol};

use crate::ffi::{self, Definition, EncodedOption, Packet};

/// Kea's name of the space of the options.
const DHCP4: &str = "dhcp4";
/// The code of the vendor specific information option (RFC 2132, section 8.4).
const VENDOR_OPTIONS: u8 = 43;
/// Kea's name of the space of option 43's sub-options, where no definition names another space.
const VENDOR_OPTIONS_SPACE: &str = "vendor-encapsulated-options-space";

/// One edit, encoded.
pub enum EncodedEdit {
    /// The edit changes no option.
    HeaderField,
    /// An option with this code and payload.
    Option(u8, Vec<u8>),
    /// The option of this code is removed.
    Removal(u8),
    /// The edit cannot be encoded, for this reason.
    Refused(String),
}

/// The encoded edits of an answer, in the order of its edits.
pub type EncodedEdits = Vec<EncodedEdit>;

/// An answer's edits as one configuration of Kea encodes them.
struct Kept {
    configuration: u64,
    edits: EncodedEdits,
}

/// Calls `write` with the encoded edits of an answer. `configuration` is the number of the present
/// configuration: another one may have other definitions. Without it nothing is kept.
pub fn with_encoded(
    answer: &Answer,
    query: &Packet,
    configuration: Option<u64>,
    write: impl FnOnce(&EncodedEdits),
) {
    // Where Kea cannot tell, the answer is encoded for this query alone.
    let keeps = configuration.filter(|_| !ffi::has_class_definitions(query).unwrap_or(true));
    let Some(configuration) = keeps else {
        return write(&encode_all(answer, query));
    };
    let kept = answer.encoded.get::<Kept>();
    let kept = kept.filter(|kept| kept.configuration == configuration).unwrap_or_else(|| {
        let kept = Arc::new(Kept { configuration, edits: encode_all(answer, query) });
        answer.encoded.set(Arc::clone(&kept));
        kept
    });
    write(&kept.edits);
}

fn encode_all(answer: &Answer, query: &Packet) -> EncodedEdits {
    let encoded = |change: &Change| match change {
        Change::Option(id, value) => encode_option(query, id, value)
            .unwrap_or_else(|reason| EncodedEdit::Refused(reason.to_string())),
        Change::NextServer(_) | Change::ServerHostname(_) | Change::BootFileName(_) => {
            EncodedEdit::HeaderField
        }
    };
    answer.edits.iter().map(|edit| encoded(&edit.change)).collect()
}

fn encode_option(
    query: &Packet,
    id: &OptionId,
    value: &OptionValue,
) -> Result<EncodedEdit, Box<dyn Error>> {
    let (code, definition) = find(query, DHCP4, id)?;
    if is_of_the_protocol(code) {
        return Err(Reason::Protocol.into());
    }
    if *value == OptionValue::Removed {
        return Ok(EncodedEdit::Removal(code));
    }
    let mut payload = Vec::new();
    encode(query, code, &definition, value)?.read_payload(&mut payload)?;
    Ok(EncodedEdit::Option(code, payload))
}

/// The code and the definition of an option (in the space "dhcp4") or sub-option. The definition is
/// null where Kea has none. An empty space is a space that no definition names, so that nothing is
/// defined in it.
fn find(
    query: &Packet,
    space: &str,
    id: &OptionId,
) -> Result<(u8, UniquePtr<Definition>), Box<dyn Error>> {
    match id {
        OptionId::Code(code) if space.is_empty() => Ok((*code, UniquePtr::null())),
        OptionId::Code(code) => {
            Ok((*code, ffi::definition_by_code(query, space, u16::from(*code))?))
        }
        OptionId::Name(name) => {
            let definition = ffi::definition_by_name(query, space, name)?;
            let code = definition.as_ref().ok_or(Reason::NoName)?.code()?;
            Ok((u8::try_from(code).map_err(|_| Reason::NoCode)?, definition))
        }
    }
}

/// The option or sub-option of this code with this value.
fn encode(
    query: &Packet,
    code: u8,
    definition: &UniquePtr<Definition>,
    value: &OptionValue,
) -> Result<UniquePtr<EncodedOption>, Box<dyn Error>> {
    let raw = |payload: &[u8]| ffi::encode_raw(code, payload);
    let Some(definition) = definition.as_ref() else {
        return match value {
            OptionValue::Text(text) => not_empty(raw(text.as_bytes())?),
            OptionValue::Bytes(bytes) => not_empty(raw(bytes)?),
            OptionValue::SubOptions(members) => {
                with_sub_options(query, raw(&[])?, sub_option_space(code, ""), members)
            }
            OptionValue::Fields(_) | OptionValue::Removed => Err(Reason::NoDefinition.into()),
        };
    };
    let has_no_value = definition.is_empty()?;
    let option = match value {
        OptionValue::Bytes(bytes) => raw(bytes)?,
        // A definition of one text does not split the text at its commas.
        OptionValue::Text(text) if definition.is_text()? => raw(text.as_bytes())?,
        // An option that has only sub-options takes them in one piece.
        OptionValue::Text(text) if has_no_value && !definition.sub_option_space()?.is_empty() => {
            raw(text.as_bytes())?
        }
        OptionValue::Text(text) => definition.encode_text(text)?,
        OptionValue::Fields(fields) => definition.encode(fields)?,
        OptionValue::SubOptions(_) if !has_no_value => return Err(Reason::HasValue.into()),
        OptionValue::SubOptions(members) => {
            let space = definition.sub_option_space()?;
            with_sub_options(query, raw(&[])?, sub_option_space(code, &space), members)?
        }
        OptionValue::Removed => return Err(Reason::NoRemoval.into()),
    };
    if has_no_value { Ok(option) } else { not_empty(option) }
}

/// Refuses an option without a payload. Such an option is well-formed only where its definition
/// says so (RFC 2132, section 2).
fn not_empty(option: UniquePtr<EncodedOption>) -> Result<UniquePtr<EncodedOption>, Box<dyn Error>> {
    if option.length()? == 0 { Err(Reason::Empty.into()) } else { Ok(option) }
}

/// The space of the sub-options of the option of this code, whose definition names the space
/// `defined`, or no space (empty).
fn sub_option_space(code: u8, defined: &str) -> &str {
    if defined.is_empty() && code == VENDOR_OPTIONS { VENDOR_OPTIONS_SPACE } else { defined }
}

/// Adds sub-options of this space to an option. The error names the sub-option that cannot be
/// added.
fn with_sub_options(
    query: &Packet,
    mut option: UniquePtr<EncodedOption>,
    space: &str,
    members: &[(OptionId, OptionValue)],
) -> Result<UniquePtr<EncodedOption>, Box<dyn Error>> {
    let mut codes = Vec::new();
    let mut encode_member = |id: &OptionId, value: &OptionValue| {
        let (code, definition) = find(query, space, id)?;
        if codes.contains(&code) {
            return Err(Reason::Twice.into());
        }
        codes.push(code);
        let sub_option = encode(query, code, &definition, value)?;
        if sub_option.length()? > MAX_SUB_OPTION {
            return Err(Box::<dyn Error>::from(Reason::LongSubOption));
        }
        Ok(sub_option)
    };
    for (id, value) in members {
        let sub_option =
            encode_member(id, value).map_err(|reason| format!("sub-option {id}: {reason}"))?;
        option.pin_mut().add_sub_option(sub_option)?;
    }
    Ok(option)
}
