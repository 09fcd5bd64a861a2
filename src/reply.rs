// SPDX-License-Identifier: MPL-2.0
//! Answer → DHCP reply: each edit is written by itself. Kea's option definitions do the encoding.
//!
//! [`crate::packet_lookup`] calls it at pkt4_send, in packet threads.

use std::error::Error;
use std::fmt;

use cxx::UniquePtr;
use remote_opts_core::answer::length::{FIXED, MAX_REPLY, MAX_SUB_OPTION, wire_length};
use remote_opts_core::answer::{
    Answer, BOOT_FILE_NAME, Change, Edit, Member, NEXT_SERVER, OptionId, OptionValue, Reason,
    SERVER_HOSTNAME, is_of_the_protocol,
};

use crate::ffi::{self, Definition, EncodedOption, Packet};

/// Kea's name of the space of the options.
const DHCP4: &str = "dhcp4";
/// The code of the vendor specific information option (RFC 2132, section 8.4).
const VENDOR_OPTIONS: u8 = 43;
/// Kea's name of the space of option 43's sub-options, where no definition names another space.
const VENDOR_OPTIONS_SPACE: &str = "vendor-encapsulated-options-space";

/// Writes the answer into the reply. An edit that cannot be written costs no other edit; `refuse`
/// is told why. What was written is added to `written`, if the caller wants to know: the code of an
/// option (-code: removed), or the name of a header field.
pub fn apply(
    answer: &Answer,
    query: &Packet,
    reply: &Packet,
    refuse: &dyn Fn(&dyn fmt::Display, &Member),
    written: Option<&mut Vec<String>>,
) {
    for refusal in &answer.refused {
        refuse(&refusal.reason, &refusal.member);
    }
    let mut editor = Editor { query, reply, codes: Vec::new(), lengths: None, written };
    // Removals come first: they make room.
    let is_removal = |edit: &&Edit| matches!(edit.change, Change::Option(_, OptionValue::Removed));
    let removals = answer.edits.iter().filter(is_removal);
    for edit in removals.chain(answer.edits.iter().filter(|edit| !is_removal(edit))) {
        if let Err(reason) = editor.write(&edit.change) {
            refuse(&reason, &edit.member);
        }
    }
}

/// Edits one reply by one answer.
struct Editor<'a> {
    query: &'a Packet,
    reply: &'a Packet,
    /// The codes of the options that this answer has edited.
    codes: Vec<u8>,
    /// The codes and payload lengths of the reply's options, once an edit needs them.
    lengths: Option<Vec<(u8, usize)>>,
    written: Option<&'a mut Vec<String>>,
}

impl Editor<'_> {
    fn write(&mut self, change: &Change) -> Result<(), Box<dyn Error>> {
        let reply = self.reply;
        match change {
            Change::NextServer(address) => {
                reply.set_next_server(&address.to_string())?;
                self.note(|| NEXT_SERVER.to_owned());
            }
            Change::ServerHostname(name) => {
                reply.set_server_hostname(name)?;
                self.note(|| SERVER_HOSTNAME.to_owned());
            }
            Change::BootFileName(name) => {
                reply.set_boot_file_name(name)?;
                self.note(|| BOOT_FILE_NAME.to_owned());
            }
            Change::Option(id, value) => {
                let code = self.write_option(id, value)?;
                let sign = if *value == OptionValue::Removed { "-" } else { "" };
                self.note(|| format!("{sign}{code}"));
            }
        }
        Ok(())
    }

    /// Notes what was written.
    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(written) = &mut self.written {
            written.push(what());
        }
    }

    /// Writes or removes an option, and returns its code.
    fn write_option(&mut self, id: &OptionId, value: &OptionValue) -> Result<u8, Box<dyn Error>> {
        let (code, definition) = find(self.query, DHCP4, id)?;
        if is_of_the_protocol(code) {
            return Err(Reason::Protocol.into());
        }
        if self.codes.contains(&code) {
            return Err(Reason::Twice.into());
        }
        if *value == OptionValue::Removed {
            self.reply.remove_option(code)?;
        } else {
            let option = encode(self.query, code, &definition, value)?;
            self.take_room(code, option.length()?)?;
            self.reply.replace_option(&option)?;
        }
        self.codes.push(code);
        Ok(code)
    }

    /// Counts an option with a payload of `length` bytes in the place of every option of this code,
    /// if the reply has room for it.
    fn take_room(&mut self, code: u8, length: usize) -> Result<(), Box<dyn Error>> {
        if self.lengths.is_none() {
            // Now, because all removals have been made.
            let (mut codes, mut lengths) = (Vec::new(), Vec::new());
            self.reply.read_lengths(&mut codes, &mut lengths)?;
            self.lengths = Some(codes.into_iter().zip(lengths).collect());
        }
        let lengths = self.lengths.get_or_insert_default();
        let remaining = lengths.iter().filter(|(other, _)| *other != code);
        let remaining = remaining.map(|(_, length)| wire_length(*length)).sum::<usize>();
        if FIXED + remaining + wire_length(length) > MAX_REPLY {
            return Err(Reason::TooLarge.into());
        }
        lengths.retain(|(other, _)| *other != code);
        lengths.push((code, length));
        Ok(())
    }
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
