// SPDX-License-Identifier: MPL-2.0
//! Answer → DHCP reply: each edit is written by itself.
//!
//! [`crate::packet_lookup`] calls it at pkt4_send, in packet threads.

use std::error::Error;
use std::fmt;

use remote_opts_core::answer::length::{ALWAYS_FITS, FIXED, Longest, wire_length};
use remote_opts_core::answer::{
    Answer, BOOT_FILE_NAME, Change, Edit, Member, NEXT_SERVER, Reason, SERVER_HOSTNAME,
};

use crate::encode::{EncodedEdit, Encoder};
use crate::ffi::Packet;

/// The code of the maximum DHCP message size option (RFC 2132, section 9.10).
const MAX_MESSAGE_SIZE: u8 = 57;

/// Writes the answer into the reply. An edit that cannot be written costs no other edit; `refuse`
/// is told why. What was written is added to `written`, if the caller wants to know. Returns how many
/// edits were written. `max_reply_size` is the parameter of this name, in bytes.
pub fn apply(
    answer: &Answer,
    encoder: &Encoder,
    reply: &Packet,
    max_reply_size: usize,
    refuse: &dyn Fn(&dyn fmt::Display, &Member),
    written: Option<&mut Vec<Written>>,
) -> usize {
    for refusal in &answer.refused {
        refuse(&refusal.reason, &refusal.member);
    }
    let query = encoder.query;
    let codes = Vec::with_capacity(answer.edits.len());
    let mut editor =
        Editor { query, reply, max_reply_size, codes, always_fits: false, room: None, written };
    let mut applied = 0;
    encoder.with_encoded(answer, |encoded| {
        let edits = || answer.edits.iter().zip(encoded);
        let added: usize = edits().map(|(edit, encoded)| encoded.length(edit)).sum();
        // Nearly every reply is so short that nothing more has to be counted.
        editor.always_fits =
            reply.options_length().is_ok_and(|length| length + added <= ALWAYS_FITS);
        // Removals come first: they make room.
        let is_removal = |encoded: &EncodedEdit| matches!(encoded, EncodedEdit::Removal(_));
        let removals = edits().filter(|(_, encoded)| is_removal(encoded));
        for (edit, encoded) in removals.chain(edits().filter(|(_, encoded)| !is_removal(encoded))) {
            match editor.write(edit, encoded) {
                Ok(()) => applied += 1,
                Err(reason) => refuse(&reason, &edit.member()),
            }
        }
    });
    applied
}

/// An edit that was written.
pub struct Written {
    /// The code of the option (-code: removed), or the name of the header field.
    pub what: String,
    /// The value as the answer has it, as JSON. A long one is cut. `None` for an option that was
    /// removed.
    pub value: Option<String>,
}

/// Edits one reply by one answer.
struct Editor<'a> {
    query: &'a Packet,
    reply: &'a Packet,
    max_reply_size: usize,
    /// The codes of the options that this answer has edited.
    codes: Vec<u8>,
    /// Whether all options together fit in any case, those of the answer too.
    always_fits: bool,
    /// How long the reply is and may be, once an edit needs to know.
    room: Option<Room>,
    written: Option<&'a mut Vec<Written>>,
}

/// How long a reply is, and may be.
struct Room {
    /// The code of each option, and the bytes that it takes.
    options: Vec<(u8, usize)>,
    longest: Longest,
}

impl Room {
    /// Reads the reply, and the client's option 57.
    fn read(query: &Packet, reply: &Packet, max_reply_size: usize) -> Result<Self, cxx::Exception> {
        let (mut codes, mut lengths, mut sub_options) = (Vec::new(), Vec::new(), Vec::new());
        reply.read_lengths(&mut codes, &mut lengths, &mut sub_options)?;
        let lengths = lengths.into_iter().zip(sub_options);
        let lengths = lengths.map(|(payload, sub_options)| wire_length(payload, sub_options));
        let mut size = Vec::new();
        query.read_option(MAX_MESSAGE_SIZE, &mut size)?;
        let size = size.try_into().ok().map(u16::from_be_bytes);
        let longest = Longest::new(max_reply_size, size);
        Ok(Room { options: codes.into_iter().zip(lengths).collect(), longest })
    }

    /// Counts an option of `length` bytes in the place of every option of this code, if there is
    /// room for it.
    fn take(&mut self, code: u8, length: usize) -> Result<(), Reason> {
        let (replaced, others): (Vec<_>, Vec<_>) =
            self.options.iter().partition(|(this, _)| *this == code);
        let bytes =
            |options: Vec<&(u8, usize)>| options.iter().map(|(_, bytes)| bytes).sum::<usize>();
        // Kea alone may have made a reply too long. It may still be edited, if it does not grow.
        if FIXED + bytes(others) + length > self.longest.bytes && length > bytes(replaced) {
            return Err(Reason::TooLarge(self.longest));
        }
        self.options.retain(|(other, _)| *other != code);
        self.options.push((code, length));
        Ok(())
    }
}

impl Editor<'_> {
    fn write(&mut self, edit: &Edit, encoded: &EncodedEdit) -> Result<(), Box<dyn Error>> {
        let reply = self.reply;
        match encoded {
            EncodedEdit::HeaderField => return self.write_header_field(edit),
            EncodedEdit::Refused(reason) => return Err((&**reason).into()),
            EncodedEdit::Removal(code) => {
                self.first_edit_of(*code)?;
                reply.remove_option(*code)?;
                self.codes.push(*code);
                self.note(|| Written { what: format!("-{code}"), value: None });
            }
            EncodedEdit::Option(..) | EncodedEdit::Text(_) => {
                // The edit is the one that was encoded, so there is an option.
                let Some((code, payload)) = encoded.option(edit) else {
                    return Err("the option is encoded as another edit".into());
                };
                self.first_edit_of(code)?;
                self.take_room(code, payload.len())?;
                reply.replace_option(code, payload)?;
                self.codes.push(code);
                let value = || Some(edit.member().value());
                self.note(|| Written { what: code.to_string(), value: value() });
            }
        }
        Ok(())
    }

    fn write_header_field(&mut self, edit: &Edit) -> Result<(), Box<dyn Error>> {
        let reply = self.reply;
        let name = match &edit.change {
            Change::NextServer(address) => {
                reply.set_next_server(&address.to_string())?;
                NEXT_SERVER
            }
            Change::ServerHostname(name) => {
                reply.set_server_hostname(name)?;
                SERVER_HOSTNAME
            }
            Change::BootFileName(name) => {
                reply.set_boot_file_name(name)?;
                BOOT_FILE_NAME
            }
            Change::Option(..) => return Ok(()),
        };
        self.note(|| Written { what: name.to_owned(), value: Some(edit.member().value()) });
        Ok(())
    }

    /// Refuses a second edit of one option.
    fn first_edit_of(&self, code: u8) -> Result<(), Reason> {
        if self.codes.contains(&code) { Err(Reason::Twice) } else { Ok(()) }
    }

    /// Notes what was written.
    fn note(&mut self, what: impl FnOnce() -> Written) {
        if let Some(written) = &mut self.written {
            written.push(what());
        }
    }

    /// Counts an option with a payload of `length` bytes, if the reply has room for it.
    fn take_room(&mut self, code: u8, length: usize) -> Result<(), Box<dyn Error>> {
        if self.always_fits {
            return Ok(());
        }
        let room = match &mut self.room {
            Some(room) => room,
            // Now, because all removals have been made.
            room => room.insert(Room::read(self.query, self.reply, self.max_reply_size)?),
        };
        Ok(room.take(code, wire_length(length, 0))?)
    }
}
