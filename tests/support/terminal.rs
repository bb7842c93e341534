//! Runs a program in a new terminal, and checks for bytes that no terminal may receive from foreign
//! text.

use nix::pty::{Winsize, openpty};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Foreign text that tries to control a terminal: colours, the window title, C1 controls,
/// bidirectional overrides and isolates, zero-width characters, a backspace, a carriage return
/// before forged words, and a forged line.
pub const HOSTILE: &str =
    "evil\u{1b}[7m\u{1b}]0;owned\u{7}\u{9b}5m\u{202e}\u{2066}\u{200b}\u{7f}\u{8}\rFORGED";

/// Runs the command in a terminal of 100 columns, without input. Returns its exit status and all
/// its output.
pub fn in_terminal(command: Command) -> (Option<i32>, Vec<u8>) {
    run(command, None)
}

/// Like [`in_terminal`], with a line typed at the terminal.
pub fn answering_at_terminal(command: Command, line: &str) -> (Option<i32>, Vec<u8>) {
    run(command, Some(line))
}

fn run(mut command: Command, line: Option<&str>) -> (Option<i32>, Vec<u8>) {
    let size = Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).unwrap();
    let side = || Stdio::from(pty.slave.try_clone().unwrap());
    let input = if line.is_some() { side() } else { Stdio::null() };
    let mut child = command
        .stdin(input)
        .stdout(side())
        .stderr(side())
        .env("TERM", "xterm-256color")
        .spawn()
        .unwrap();
    // The command holds its own copies of the terminal's end until it is dropped.
    drop(command);
    drop(pty.slave);
    let mut written = Vec::new();
    let mut master = File::from(pty.master);
    if let Some(line) = line {
        // The terminal buffers the line until the command reads it.
        master.write_all(line.as_bytes()).unwrap();
        master.write_all(b"\n").unwrap();
    }
    let mut window = [0; 4096];
    // Reading a terminal fails when its other end is closed.
    while let Ok(count) = master.read(&mut window) {
        if count == 0 {
            break;
        }
        written.extend_from_slice(&window[..count]);
    }
    (child.wait().unwrap().code(), written)
}

/// Fails if the bytes contain a character that controls a terminal, except line feed and tab.
///
/// With `own`, carriage returns and the sequences of osimg's own progress bars and colours are
/// allowed.
pub fn is_harmless(bytes: &[u8], own: bool, what: &str) {
    let text = std::str::from_utf8(bytes)
        .unwrap_or_else(|error| panic!("{what}: {error}: {}", bytes.escape_ascii()));
    let shown = || text.escape_debug().to_string();
    assert!(
        !text.contains("\rFORGED") && !text.contains("\nFORGED"),
        "{what}: a forged line: {}",
        shown()
    );
    let mut rest = text.to_owned();
    if own {
        // Erase a line or the rest of it; move up and to a column; osimg's colours.
        for sequence in [
            "[2K", "[K", "[J", "[0J", "[1A", "[1B", "[0m", "[31;1m", "[32m", "[33m", "[?25l",
            "[?25h", "[1G",
        ] {
            rest = rest.replace(&format!("\u{1b}{sequence}"), "");
        }
        rest = rest.replace('\r', "");
    }
    let bad = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if let Some(at) = rest.find(bad) {
        let around: String = rest[at..].chars().take(60).collect();
        panic!("{what}: {}: {}", around.escape_debug(), shown());
    }
}
