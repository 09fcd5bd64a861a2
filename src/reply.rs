// SPDX-License-Identifier: MPL-2.0
//! Answer → DHCP reply: each edit is written by itself.
//!
//! [`crate::packet_lookup`] calls it at pkt4_send, in packet threads.

use std::error::Error;
use std::fmt;

use remote_opts_core::answer::length::{FIXED, MAX_REPLY, wire_length};
use remote_opts_core::answer::{
    Answer, BOOT_FILE_NAME, Change, Member, NEXT_SERVER, Reason, SERVER_HOSTNAME,
};

use crate::encode::{EncodedEdit, with_encoded};
use crate::ffi::Packet;

/// Writes the answer into the reply. An edit that cannot be written costs no other edit; `refuse`
/// is told why. What was written is added to `written`, if the caller wants to know: the code of an
/// option (-code: removed), or the name of a header field. `configuration`: see
/// [`with_encoded`].
pub fn apply(
    answer: &Answer,
    query: &Packet,
    reply: &Packet,
    configuration: Option<u64>,
    refuse: &dyn Fn(&dyn fmt::Display, &Member),
    written: Option<&mut Vec<String>>,
) {
    for refusal in &answer.refused {
        refuse(&refusal.reason, &refusal.member);
    }
    let mut editor = Editor { reply, codes: Vec::new(), lengths: None, written };
    with_encoded(answer, query, configuration, |encoded| {
        let edits = || answer.edits.iter().zip(encoded);
        // Removals come first: they make room.
        let is_removal = |encoded: &EncodedEdit| matches!(encoded, EncodedEdit::Removal(_));
        let removals = edits().filter(|(_, encoded)| is_removal(encoded));
        for (edit, encoded) in removals.chain(edits().filter(|(_, encoded)| !is_removal(encoded))) {
            if let Err(reason) = editor.write(&edit.change, encoded) {
                refuse(&reason, &edit.member);
            }
        }
    });
}

/// Edits one reply by one answer.
struct Editor<'a> {
    reply: &'a Packet,
    /// The codes of the options that this answer has edited.
    codes: Vec<u8>,
    /// The codes and payload lengths of the reply's options, once an edit needs them.
    lengths: Option<Vec<(u8, usize)>>,
    written: Option<&'a mut Vec<String>>,
}

impl Editor<'_> {
    fn write(&mut self, change: &Change, encoded: &EncodedEdit) -> Result<(), Box<dyn Error>> {
        let reply = self.reply;
        match encoded {
            EncodedEdit::HeaderField => return self.write_header_field(change),
            EncodedEdit::Refused(reason) => return Err(reason.as_str().into()),
            EncodedEdit::Removal(code) => {
                self.first_edit_of(*code)?;
                reply.remove_option(*code)?;
                self.codes.push(*code);
                self.note(|| format!("-{code}"));
            }
            EncodedEdit::Option(code, payload) => {
                self.first_edit_of(*code)?;
                self.take_room(*code, payload.len())?;
                reply.replace_option(*code, payload)?;
                self.codes.push(*code);
                self.note(|| code.to_string());
            }
        }
        Ok(())
    }

    fn write_header_field(&mut self, change: &Change) -> Result<(), Box<dyn Error>> {
        let reply = self.reply;
        let name = match change {
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
        self.note(|| name.to_owned());
        Ok(())
    }

    /// Refuses a second edit of one option.
    fn first_edit_of(&self, code: u8) -> Result<(), Reason> {
        if self.codes.contains(&code) { Err(Reason::Twice) } else { Ok(()) }
    }

    /// Notes what was written.
    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(written) = &mut self.written {
            written.push(what());
        }
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
