//! Servers that fall silent: every client gives up after the limit and reports it.

use std::time::Duration;

use crate::clients::{CLIENTS, Silence, command, messages, silent, stage, wait_for_end};

#[test]
fn every_client_gives_up_on_a_server_that_falls_silent() {
    for way in [Silence::Mute, Silence::Stops, Silence::Trickles] {
        for (name, arguments) in CLIENTS {
            let (port, _) = silent(way);
            let place = format!("127.0.0.1:{port}");
            let directory = stage("http", &place);
            let child = command(directory.path(), arguments, "http", &place)
                .env("OSIMG_HTTP_TIMEOUT", "1")
                .spawn()
                .unwrap();
            let (output, time) = wait_for_end(child, Duration::from_secs(20));
            let text = messages(&output);
            assert!(
                matches!(output.status.code(), Some(5 | 9)),
                "{name}, {way:?}: {:?} {text}",
                output.status
            );
            assert!(
                text.contains("for 1 s") && text.contains("OSIMG_HTTP_TIMEOUT"),
                "{name}, {way:?}: {text}"
            );
            assert!(time >= Duration::from_millis(900), "{name}, {way:?}: it waited only {time:?}");
        }
    }
}

#[test]
fn a_handshake_that_is_never_answered_ends_too() {
    for (name, arguments) in CLIENTS {
        let (port, _) = silent(Silence::Mute);
        let place = format!("127.0.0.1:{port}");
        let directory = stage("https", &place);
        let child = command(directory.path(), arguments, "https", &place)
            .env("OSIMG_HTTP_TIMEOUT", "1")
            .spawn()
            .unwrap();
        let (output, _) = wait_for_end(child, Duration::from_secs(20));
        assert!(messages(&output).contains("for 1 s"), "{name}: {}", messages(&output));
    }
}

#[test]
fn a_limit_that_is_not_a_number_of_seconds_is_an_error() {
    let directory = stage("http", "127.0.0.1:9");
    for wrong in ["0", "soon", "-1", "1.5"] {
        let output = command(directory.path(), CLIENTS[0].1, "http", "127.0.0.1:9")
            .env("OSIMG_HTTP_TIMEOUT", wrong)
            .output()
            .unwrap();
        assert!(
            output.status.code() == Some(2)
                && messages(&output).contains("whole number of seconds"),
            "{}",
            messages(&output)
        );
    }
}
