// SPDX-License-Identifier: MPL-2.0
//! The serial console of a machine: bytes for a terminal → lines for a person.

use std::mem;

/// Turns the bytes for a terminal into lines of text. The firmware clears the screen, moves the
/// cursor and takes characters back.
#[derive(Default)]
pub struct Screen {
    line: String,
    escape: Escape,
}

/// How far an escape sequence has come.
#[derive(Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After `ESC [`: parameters follow, and then a letter.
    Parameters,
}

impl Screen {
    /// Takes the next byte. Returns the line that the byte ends, unless the line is empty.
    pub fn put(&mut self, byte: u8) -> Option<String> {
        match (&self.escape, byte) {
            (Escape::None, b'\x1b') => self.escape = Escape::Begun,
            (Escape::None, b'\x08') => drop(self.line.pop()),
            // A progress bar begins its line again.
            (Escape::None, b'\n' | b'\r') => return self.take(),
            (Escape::None, b' '..=b'~') => self.line.push(char::from(byte)),
            (Escape::None, _) => {}
            (Escape::Begun, b'[') => self.escape = Escape::Parameters,
            (Escape::Begun, _) => self.escape = Escape::None,
            (Escape::Parameters, b'@'..=b'~') => {
                self.escape = Escape::None;
                // The cursor goes elsewhere: what follows is another line.
                if matches!(byte, b'H' | b'J') {
                    return self.take();
                }
            }
            (Escape::Parameters, _) => {}
        }
        None
    }

    /// The last line, which no byte ended.
    pub fn end(mut self) -> Option<String> {
        self.take()
    }

    fn take(&mut self) -> Option<String> {
        let line = mem::take(&mut self.line).trim_end().to_owned();
        (!line.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut screen = Screen::default();
        let mut lines: Vec<_> = bytes.iter().filter_map(|&byte| screen.put(byte)).collect();
        lines.extend(screen.end());
        lines
    }

    #[test]
    fn escape_sequences_are_left_out() {
        assert_eq!(
            lines(b"\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS\r\n\r\n\x1b[0;1miPXE\x1b[0m -- Open"),
            ["SeaBIOS", "iPXE -- Open"]
        );
    }

    #[test]
    fn a_move_of_the_cursor_begins_a_line() {
        assert_eq!(lines(b"Mapping\x1b[05;01HPress"), ["Mapping", "Press"]);
    }

    #[test]
    fn characters_are_taken_back() {
        assert_eq!(lines(b"Press...\x08 \x08\x08 \x08\x08 \x08net0"), ["Pressnet0"]);
    }

    #[test]
    fn a_progress_bar_has_a_line_for_each_step() {
        assert_eq!(lines(b"\r  47%\r  100%BdsDxe"), ["  47%", "  100%BdsDxe"]);
    }
}
