//! The command line.
use std::process::ExitCode;
/// Runs the program.
pub fn main() -> ExitCode {
    use crate::sandbox::*;
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) == Some(NAMESPACES_VERB) {
        let n = if args[2] == "host" { Network::Host } else { Network::None };
        let t = if args[3] == "shared" { Terminal::Shared } else { Terminal::None };
        return match namespaces_main(n, t, args[4].parse().unwrap()) { Ok(c) => ExitCode::from(c as u8), Err(e) => { eprintln!("{e:#}"); ExitCode::FAILURE } };
    }
    if args.get(1).map(String::as_str) == Some(INIT_VERB) {
        return match init_main() { Ok(c) => ExitCode::from(c as u8), Err(e) => { eprintln!("{e:#}"); ExitCode::FAILURE } };
    }
    let root = std::path::PathBuf::from(&args[1]);
    let scratch = std::path::PathBuf::from(&args[2]);
    let net = if args[3] == "host" { Network::Host } else { Network::None };
    let plan = Plan { root, scratch, view: View::Tools, network: net, devices: Devices::Private, terminal: Terminal::None, hostname: "osimg".into(),
        mounts: { let mut m = tools(std::path::Path::new("/"), net); for (a,b,w) in [("/tmp/req.json","/osimg/request.json",false),("/work/main/src/packages/dnf4.py","/osimg/dnf4.py",false),("/tmp/sb/cache","/osimg/cache",true),("/var/tmp/realos/RPM-GPG-KEY-realos","/osimg/keys/0.asc",false),("/var/tmp/realos","/var/tmp/realos",false)] { m.push(Mount::Bind{source:a.into(),target:b.into(),access: if w {Access::ReadWrite} else {Access::ReadOnly}}) } m }, command: crate::process::CommandLine::new(args[4..].to_vec()).env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin") };
    match Sandbox::run(&plan, Limits::default(), &mut |s, l| { println!("{s:?} {l}"); Ok(()) }) { Ok(o) => { println!("{o:?}"); ExitCode::SUCCESS } Err(e) => { eprintln!("{}", crate::error::render(&e)); ExitCode::FAILURE } }
}
