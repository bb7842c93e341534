//! A workdir in memory that becomes too small for the image: it moves to disk with everything that
//! the archive contains.

use std::path::Path;

use super::shared::skip;
use super::support::*;
use osimg::sandbox::{Backing, enter_private_mounts};
use osimg::workdir::{Keep, Place, Workdir, available_memory, free_space};

/// Everything that an archive contains of a file, shown by other programs.
const SHOW: &str = "find . -printf '%y %m %U:%G %n %T@ %p %l\\n' | sort; find . -samefile usr/one \
                    | sort; find . ! -type l | sort | xargs -d '\\n' getfacl -n; find . -type f | \
                    sort | xargs -d '\\n' getcap; find . | sort | xargs -d '\\n' getfattr -h -d \
                    -m - ; find . -type f | sort | xargs -d '\\n' sha256sum";
const FILL: &str = "mkdir -p usr/deep etc && chmod 2751 usr/deep && echo x > usr/one && ln usr/one \
    usr/deep/two \
     && cp usr/one usr/capable && setcap cap_net_raw=ep usr/capable && cp usr/one usr/setuid && \
     chown 901:902 usr/setuid && chmod 6755 usr/setuid && ln -s /no/such/place etc/dangling && \
     mkfifo etc/fifo && truncate -s 64M usr/sparse && echo end >> usr/sparse && echo x > \
     'etc/with blank' && setfacl -m u:903:rw,g:904:r etc/'with blank' && setfacl -d -m u:905:rx \
     usr/deep && setfattr -n user.colour -v blue usr/one && setfattr -n trusted.overlay.opaque -v \
     y usr/deep && touch -d '2001-02-03 04:05:06.789' usr/one && touch -h -d 2002-02-02 \
     etc/dangling && touch -d 2003-03-03 usr/deep usr etc && chmod 555 . && touch -d 2004-04-04 .";

fn sh(directory: &Path, line: &str) -> String {
    let output = program("sh").args(["-c", line]).current_dir(directory).output().expect("a shell");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_image_too_large_for_a_workdir_in_memory_is_on_disk_with_all_attributes() {
    if !require_root() {
        return;
    }
    if available_memory() < 5 << 30 {
        return skip("it requires 5 GiB of free memory");
    }
    // Each thread has its own mount namespace.
    std::thread::spawn(|| {
        enter_private_mounts().expect("a mount namespace");
        let mut workdir = Workdir::create(&Place::Auto, Keep::Never).expect("a workdir");
        assert_eq!(workdir.backing(), Backing::Memory);
        workdir.reserve(1 << 20).expect("it fits");
        assert_eq!(workdir.backing(), Backing::Memory);
        sh(&workdir.root(), FILL);
        let before = sh(&workdir.root(), SHOW);
        for word in [
            "cap_net_raw",
            "user:903:rw-",
            "default:user:905:r-x",
            "user.colour",
            "trusted.overlay.opaque",
            "6755 901:902",
        ] {
            assert!(before.contains(word), "{word}: {before}");
        }
        let larger = free_space(&workdir.root()).expect("space") + 1;
        workdir.reserve(larger).expect("it fits on disk");
        assert_eq!(workdir.backing(), Backing::Disk);
        let kind = sh(&workdir.root(), "stat -f -c %T .");
        assert_ne!(kind.trim(), "tmpfs");
        assert_eq!(sh(&workdir.root(), SHOW), before);
        let blocks: u64 =
            sh(&workdir.root(), "stat -c %b usr/sparse").trim().parse().expect("a number");
        assert!(blocks < 2048, "the hole must stay a hole: {blocks} blocks");
        let path = workdir.path().to_owned();
        workdir.finish(false).expect("finished");
        assert!(!path.exists());
    })
    .join()
    .expect("the thread");
}
