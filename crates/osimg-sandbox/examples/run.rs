//! Runs a command with a directory as its `/`: `run ROOT COMMAND...`.

use osimg_sandbox::{
    CommandLine, Devices, Error, Limits, Network, Owners, Plan, Sandbox, Stream, Terminal, View,
};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = osimg_sandbox::enter_if_asked() {
        return code;
    }
    let mut words = std::env::args().skip(1);
    let Some(root) = words.next().map(PathBuf::from) else {
        eprintln!("usage: run ROOT COMMAND...");
        return ExitCode::from(2);
    };
    match run(root, words.collect()) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                eprintln!("{error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(root: PathBuf, argv: Vec<String>) -> Result<i32, Error> {
    osimg_sandbox::become_root()?;
    let plan = Plan {
        root,
        // An empty directory that the sandbox is mounted over, in its own namespace only.
        scratch: "/mnt".into(),
        view: View::Image,
        network: Network::None,
        devices: Devices::Private,
        terminal: Terminal::None,
        owners: Owners::Ignored,
        hostname: "localhost".into(),
        mounts: Vec::new(),
        command: CommandLine::new(argv).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    };
    let outcome = Sandbox::default().run(&plan, Limits::default(), &mut |stream, line| {
        match stream {
            Stream::Out => println!("{line}"),
            Stream::Err => eprintln!("{line}"),
        }
        Ok::<(), Error>(())
    })?;
    Ok(outcome.code.unwrap_or(1))
}
