//! Answer → edits → packet: writes an answer into a reply, each edit by itself. Kea's option definitions do the encoding.
//! Called in pkt4_send, in any packet thread.

use std::error::Error;
use std::fmt;

use cxx::UniquePtr;

use crate::answer::{
    self, Answer, Change, Edit, FIXED_LENGTH, Key, MAX_REPLY, MAX_SUB_OPTION, Member, OptionValue, Reason,
};
use crate::bridge::{self, Definition, Packet};

/// The space of the options themselves.
const DHCP4: &str = "dhcp4";
/// The code of the vendor specific information option (RFC 2132, section 8.4), and Kea's space for its sub-options where no
/// definition names another.
const VENDOR_OPTIONS: u8 = 43;
const VENDOR_OPTIONS_SPACE: &str = "vendor-encapsulated-options-space";

type Made = UniquePtr<bridge::OptionValue>;

/// Writes the answer into the reply; an edit that cannot be written costs only itself, and `refuse` is told why. Adds what
/// was written, in words, to `words` if they are wanted.
pub fn apply(
    answer: &Answer,
    query: &Packet,
    response: &Packet,
    refuse: &dyn Fn(&dyn fmt::Display, &Member),
    words: Option<&mut Vec<String>>,
) {
    for refusal in &answer.refused {
        refuse(&refusal.reason, &refusal.member);
    }
    let mut written = Written { codes: Vec::new(), lengths: None, words };
    // What goes makes room for what comes.
    let removes = |edit: &&Edit| matches!(edit.change, Change::Option(_, OptionValue::Removed));
    let first = answer.edits.iter().filter(removes);
    for edit in first.chain(answer.edits.iter().filter(|edit| !removes(edit))) {
        if let Err(reason) = written.write(&edit.change, query, response) {
            refuse(&reason, &edit.member);
        }
    }
}

/// What of an answer is in the reply.
struct Written<'a> {
    codes: Vec<u8>,
    /// The codes and payload lengths of the reply's options, once they are wanted.
    lengths: Option<Vec<(u8, usize)>>,
    words: Option<&'a mut Vec<String>>,
}

impl Written<'_> {
    fn write(&mut self, change: &Change, query: &Packet, response: &Packet) -> Result<(), Box<dyn Error>> {
        let code = match change {
            Change::NextServer(address) => {
                response.set_next_server(&address.to_string())?;
                None
            }
            Change::ServerHostname(name) => {
                response.set_server_hostname(name)?;
                None
            }
            Change::BootFileName(name) => {
                response.set_boot_file_name(name)?;
                None
            }
            Change::Option(key, value) => Some(self.write_option(key, value, query, response)?),
        };
        if let Some(words) = &mut self.words {
            words.push(match (change, code) {
                (Change::NextServer(_), _) => answer::NEXT_SERVER.to_owned(),
                (Change::ServerHostname(_), _) => answer::SERVER_HOSTNAME.to_owned(),
                (Change::Option(_, OptionValue::Removed), Some(code)) => format!("-{code}"),
                (Change::Option(..), Some(code)) => code.to_string(),
                _ => answer::BOOT_FILE_NAME.to_owned(),
            });
        }
        Ok(())
    }

    /// Writes or removes an option, and returns its code.
    fn write_option(
        &mut self,
        key: &Key,
        value: &OptionValue,
        query: &Packet,
        response: &Packet,
    ) -> Result<u8, Box<dyn Error>> {
        let (code, definition) = find(query, DHCP4, key)?;
        if answer::is_of_the_protocol(code) {
            return Err(Reason::Protocol.into());
        }
        if self.codes.contains(&code) {
            return Err(Reason::Twice.into());
        }
        if *value == OptionValue::Removed {
            response.remove_option(code)?;
        } else {
            let option = make(query, code, &definition, value)?;
            self.take_room(code, option.length()?, response)?;
            response.replace_option(&option)?;
        }
        self.codes.push(code);
        Ok(code)
    }

    /// Counts an option of this payload in the place of what the reply has of its code, if the reply has room for it.
    fn take_room(&mut self, code: u8, length: usize, response: &Packet) -> Result<(), Box<dyn Error>> {
        if self.lengths.is_none() {
            // After all removals.
            let (mut codes, mut lengths) = (Vec::new(), Vec::new());
            response.read_lengths(&mut codes, &mut lengths)?;
            self.lengths = Some(codes.into_iter().zip(lengths).collect());
        }
        let lengths = self.lengths.get_or_insert_default();
        let others = lengths.iter().filter(|(other, _)| *other != code);
        let others = others.map(|(_, length)| answer::wire_length(*length)).sum::<usize>();
        if FIXED_LENGTH + others + answer::wire_length(length) > MAX_REPLY {
            return Err(Reason::TooLarge.into());
        }
        lengths.retain(|(other, _)| *other != code);
        lengths.push((code, length));
        Ok(())
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
    let empty = definition.is_empty()?;
    let option = match value {
        OptionValue::Bytes(bytes) => raw(bytes)?,
        // One text is not split at its commas, and what has but sub-options takes them in one piece.
        OptionValue::Text(text) if definition.is_text()? => raw(text.as_bytes())?,
        OptionValue::Text(text) if empty && !definition.sub_option_space()?.is_empty() => {
            raw(text.as_bytes())?
        }
        OptionValue::Text(text) => definition.make_from_text(text)?,
        OptionValue::Fields(fields) => definition.make(fields)?,
        OptionValue::SubOptions(_) if !empty => return Err(Reason::HasValue.into()),
        OptionValue::SubOptions(members) => {
            with_sub_options(query, raw(&[])?, sub_space(code, &definition.sub_option_space()?), members)?
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
    let mut make = |key: &Key, value: &OptionValue| -> Result<Made, Box<dyn Error>> {
        let (code, definition) = find(query, space, key)?;
        if codes.contains(&code) {
            return Err(Reason::Twice.into());
        }
        codes.push(code);
        let sub_option = make(query, code, &definition, value)?;
        if sub_option.length()? > MAX_SUB_OPTION {
            return Err(Reason::LongSubOption.into());
        }
        Ok(sub_option)
    };
    for (key, value) in members {
        let sub_option = make(key, value).map_err(|reason| format!("sub-option {key}: {reason}"))?;
        option.pin_mut().add(sub_option)?;
    }
    Ok(option)
}
