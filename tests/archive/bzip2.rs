//! The bzip2 encoder of osimg, tested with all available decoders on content that is hard to sort.

use crate::support::{Packing, can_run, directory, inside, noise, python, shell};
use osimg::archive::{Format, Level};
use std::fs;

fn fibonacci(size: usize) -> Vec<u8> {
    let (mut a, mut b) = (vec![b'a'], b"ab".to_vec());
    while b.len() < size {
        (a, b) = (b.clone(), [b, a].concat());
    }
    b.truncate(size);
    b
}

/// Content by name; each is about two blocks long at that level.
fn hard_content(block: usize) -> Vec<(String, Vec<u8>)> {
    let size = 2 * block + 17;
    let periodic =
        |period: usize| (0..size).map(|at| (at % period * 37 % 253) as u8).collect::<Vec<u8>>();
    let mut all = vec![
        ("alike".to_owned(), vec![251; size]),
        ("fibonacci".to_owned(), fibonacci(size)),
        ("noise".to_owned(), noise(7, size, 8)),
        ("two-values".to_owned(), noise(8, size, 1)),
        // Runs of exactly four bytes grow by a quarter.
        ("fours".to_owned(), noise(9, size / 4, 8).iter().flat_map(|byte| [*byte; 4]).collect()),
        (
            "runs".to_owned(),
            noise(10, size / 200, 3)
                .iter()
                .flat_map(|byte| vec![*byte; 256 + usize::from(*byte)])
                .collect(),
        ),
        ("twice".to_owned(), noise(11, size / 2, 8).repeat(2)),
    ];
    all.extend(
        [2, 3, 7, 50, 255, 256, 999, 1000]
            .map(|period| (format!("period-{period}"), periodic(period))),
    );
    all.extend([3, 1000].map(|period| {
        let mut content = periodic(period);
        content[block / 2] ^= 1;
        (format!("nearly-period-{period}"), content)
    }));
    all
}

#[test]
fn every_decoder_restores_content_that_is_hard_to_sort() {
    if !can_run(&["bzip2", "lbzip2", "pbzip2", "python3", "bsdtar", "cmp"]) {
        return;
    }
    for (level, block) in [(1, 100_000), (9, 900_000)] {
        let directory = directory();
        let tree = inside(directory.path(), "tree");
        for (name, content) in hard_content(block) {
            fs::write(tree.join(name), content).unwrap();
        }
        // Real programs and data that is already compressed.
        shell(
            &tree,
            "cp /bin/sh /usr/bin/python3 . && gzip -c python3 >packed.gz && xz -0c python3 \
             >packed.xz",
        );
        let packing = Packing { level: Level::Exact(level), ..Packing::default() };
        packing.pack(&tree, directory.path(), "x", &[Format::Tbz]);
        Packing::default().pack(&tree, directory.path(), "x", &[Format::Tar]);
        for decoder in ["bzip2 -dc", "lbzip2 -dc", "pbzip2 -dc", "bsdcat"] {
            shell(directory.path(), &format!("{decoder} x.tbz | cmp - x.tar"));
        }
        let program = "import bz2, sys; print(bz2.open(sys.argv[1]).read() == open(sys.argv[2], \
                       'rb').read())";
        assert_eq!(
            python(program, &[&directory.path().join("x.tbz"), &directory.path().join("x.tar")]),
            "True\n"
        );
    }
}
