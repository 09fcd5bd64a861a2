//! Answer → edits → packet: writes an answer into a reply, each edit by itself. Kea's option definitions do the encoding.
//! Called in pkt4_send, in any packet thread.

use std::error::Error;

use cxx::UniquePtr;

use crate::answer::{
    self, Answer, Change, Edit, FIXED_LENGTH, Key, MAX_REPLY, MAX_SUB_OPTION, OptionValue, Reason,
};
use crate::bridge::{self, Definition, Packet};
use crate::messages::REMOPTS_EDIT_REFUSED;

/// The space of the options themselves.
const DHCP4: &str = "dhcp4";
/// The code of the vendor specific information option (RFC 2132, section 8.4), and Kea's space for its sub-options where no
/// definition names another.
const VENDOR_OPTIONS: u8 = 43;
const VENDOR_OPTIONS_SPACE: &str = "vendor-encapsulated-options-space";

type Made = UniquePtr<bridge::OptionValue>;

/// Writes the answer into the reply; an edit that cannot be written costs only itself, and is logged. Returns what was
/// written, in words.
pub fn apply(answer: &Answer, query: &Packet, response: &Packet, label: &dyn Fn() -> String) -> Vec<String> {
    for refusal in &answer.refused {
        REMOPTS_EDIT_REFUSED.warn([&label(), &refusal.reason, &refusal.member]);
    }
    let mut written = Written::default();
    // What goes makes room for what comes.
    let removes = |edit: &&Edit| matches!(edit.change, Change::Option(_, OptionValue::Removed));
    let (first, then): (Vec<_>, Vec<_>) = answer.edits.iter().partition(removes);
    for edit in first.into_iter().chain(then) {
        if let Err(reason) = written.write(&edit.change, query, response) {
            REMOPTS_EDIT_REFUSED.warn([&label(), &reason, &edit.member]);
        }
    }
    written.words
}

/// What of an answer is in the reply.
#[derive(Default)]
struct Written {
    codes: Vec<u8>,
    words: Vec<String>,
}

impl Written {
    fn write(&mut self, change: &Change, query: &Packet, response: &Packet) -> Result<(), Box<dyn Error>> {
        let word = match change {
            Change::NextServer(address) => {
                response.set_next_server(&address.to_string())?;
                "next-server".to_owned()
            }
            Change::ServerHostname(name) => {
                response.set_server_hostname(name)?;
                "server-hostname".to_owned()
            }
            Change::BootFileName(name) => {
                response.set_boot_file_name(name)?;
                "boot-file-name".to_owned()
            }
            Change::Option(key, value) => self.write_option(key, value, query, response)?,
        };
        self.words.push(word);
        Ok(())
    }

    fn write_option(
        &mut self,
        key: &Key,
        value: &OptionValue,
        query: &Packet,
        response: &Packet,
    ) -> Result<String, Box<dyn Error>> {
        let (code, definition) = find(query, DHCP4, key)?;
        if answer::is_of_the_protocol(code) {
            return Err(Reason::Protocol.into());
        }
        if self.codes.contains(&code) {
            return Err(Reason::Twice.into());
        }
        if *value == OptionValue::Removed {
            response.remove_option(code)?;
            self.codes.push(code);
            return Ok(format!("-{code}"));
        }
        let option = make(query, code, &definition, value)?;
        let mut lengths = vec![option.length()?];
        response.read_lengths_besides(code, &mut lengths)?;
        let length = FIXED_LENGTH + lengths.into_iter().map(answer::wire_length).sum::<usize>();
        if length > MAX_REPLY {
            return Err(Reason::TooLarge.into());
        }
        response.replace_option(&option)?;
        self.codes.push(code);
        Ok(code.to_string())
    }
}

/// The code of an option or sub-option, and its definition, null where Kea has none. No definition in a space without a name.
fn find(query: &Packet, space: &str, key: &Key) -> Result<(u8, UniquePtr<Definition>), Box<dyn Error>> {
    match key {
        Key::Code(code) if space.is_empty() => Ok((*code, UniquePtr::null())),
        Key::Code(code) => Ok((*code, bridge::definition_by_code(query, space, (*code).into())?)),
        Key::Name(name) => {
            let definition = bridge::definition_by_name(query, space, name)?;
            match definition.as_ref() {
                Some(found) => match u8::try_from(found.code()?) {
                    Ok(code) => Ok((code, definition)),
                    Err(_) => Err(Reason::NoCode.into()),
                },
                None => Err(Reason::NoName.into()),
            }
        }
    }
}

fn make(
    query: &Packet,
    code: u8,
    definition: &UniquePtr<Definition>,
    value: &OptionValue,
) -> Result<Made, Box<dyn Error>> {
    let raw = |bytes: &[u8]| bridge::make_raw_option(code, bytes);
    let Some(definition) = definition.as_ref() else {
        return match value {
            OptionValue::Text(text) => not_empty(raw(text.as_bytes())?),
            OptionValue::Bytes(bytes) => not_empty(raw(bytes)?),
            OptionValue::SubOptions(members) => {
                with_sub_options(query, raw(&[])?, sub_space(code, ""), members)
            }
            OptionValue::Fields(_) | OptionValue::Removed => Err(Reason::NoDefinition.into()),
        };
    };
    let (space, empty) = (definition.sub_option_space()?, definition.is_empty()?);
    let option = match value {
        OptionValue::Bytes(bytes) => raw(bytes)?,
        // One text is not split at its commas, and what has but sub-options takes them in one piece.
        OptionValue::Text(text) if definition.is_text()? => raw(text.as_bytes())?,
        OptionValue::Text(text) if empty && !space.is_empty() => raw(text.as_bytes())?,
        OptionValue::Text(text) => definition.make_from_text(text)?,
        OptionValue::Fields(fields) => definition.make(fields)?,
        OptionValue::SubOptions(_) if !empty => return Err(Reason::HasValue.into()),
        OptionValue::SubOptions(members) => {
            with_sub_options(query, raw(&[])?, sub_space(code, &space), members)?
        }
        OptionValue::Removed => return Err(Reason::NoRemoval.into()),
    };
    if empty { Ok(option) } else { not_empty(option) }
}

/// An option without a payload is well-formed only where its definition says so (RFC 2132, section 2).
fn not_empty(option: Made) -> Result<Made, Box<dyn Error>> {
    if option.length()? == 0 { Err(Reason::Empty.into()) } else { Ok(option) }
}

/// The space of an option's sub-options.
fn sub_space(code: u8, defined: &str) -> &str {
    if defined.is_empty() && code == VENDOR_OPTIONS { VENDOR_OPTIONS_SPACE } else { defined }
}

fn with_sub_options(
    query: &Packet,
    mut option: Made,
    space: &str,
    members: &[(Key, OptionValue)],
) -> Result<Made, Box<dyn Error>> {
    let mut codes = Vec::new();
    for (key, value) in members {
        let (code, definition) = find(query, space, key)?;
        if codes.contains(&code) {
            return Err(Reason::Twice.into());
        }
        codes.push(code);
        let sub_option = make(query, code, &definition, value)?;
        if sub_option.length()? > MAX_SUB_OPTION {
            return Err(Reason::LongSubOption.into());
        }
        option.pin_mut().add(sub_option)?;
    }
    Ok(option)
}
