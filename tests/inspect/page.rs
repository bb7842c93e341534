//! The page of `osimg inspect --html` in a real browser: its content, the speed of its tables, and
//! hostile names shown as text.

use crate::stage::{OSIMG, Stage, run};
use crate::support::require_root;
use crate::{RECIPE, stage, tool};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A page that shows another in a frame of this width and runs a script with access to it.
const FRAME: &str = r#"<!doctype html><meta charset="utf-8"><title>frame</title>
<body style="margin:0"><script>
const page = @PAGE@, width = @WIDTH@;
const frame = document.createElement("iframe");
frame.style = `border:0;width:${width}px;height:900px`;
const result = { errors: [] };
frame.onload = async () => {
  const inner = frame.contentDocument, view = frame.contentWindow;
  const each = (selector, f) => [...inner.querySelectorAll(selector)].map(f);
  const settle = (ms) => new Promise((done) => setTimeout(done, ms));
  try { await (async () => { @SCRIPT@ })(); } catch (error) { result.errors.push(String(error)); }
  const out = document.createElement("pre");
  out.id = "result";
  out.textContent = JSON.stringify(result);
  document.body.append(out);
};
frame.srcdoc = page;
document.body.append(frame);
</script>"#;

fn browser() -> Option<PathBuf> {
    // Like an unprivileged user, except that the tests in CI run as root.
    tool("chromium")
}

fn chromium(directory: &Path, words: &[&str], url: &str) -> String {
    let mut command = Command::new("timeout");
    command.args([
        "120",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    command
        .arg("--virtual-time-budget=20000")
        .arg(format!("--user-data-dir={}", directory.join("chromium").display()))
        .args(words)
        .arg(url);
    // The browser needs a home directory to start.
    command.env("HOME", directory);
    String::from_utf8(run(&mut command)).unwrap()
}

fn page(image: &Path, directory: &Path) -> PathBuf {
    let file = directory.join("page.html");
    let printed =
        run(Command::new(OSIMG).arg("-q").arg("inspect").arg(image).arg("--html").arg(&file));
    assert_eq!(String::from_utf8(printed).unwrap().trim(), file.display().to_string());
    file
}

/// The result of the script on the page, shown with this width.
fn ask(page: &Path, directory: &Path, width: u32, script: &str) -> serde_json::Value {
    let text =
        serde_json::to_string(&fs::read_to_string(page).unwrap()).unwrap().replace('<', "\\u003c");
    let frame = FRAME
        .replace("@WIDTH@", &width.to_string())
        .replace("@SCRIPT@", script)
        .replace("@PAGE@", &text);
    let file = directory.join("frame.html");
    fs::write(&file, frame).unwrap();
    let dom = chromium(
        directory,
        &["--window-size=1400,1000", "--dump-dom"],
        &format!("file://{}", file.display()),
    );
    let (_, rest) = dom.split_once("<pre id=\"result\">").unwrap_or_else(|| {
        panic!("the script did not end:\n{}", &dom[dom.len().saturating_sub(500)..])
    });
    let json = rest
        .split_once("</pre>")
        .unwrap()
        .0
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let result: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(result["errors"], serde_json::json!([]), "{result}");
    result
}

#[test]
fn the_page_shows_sizes_steps_packages_files_and_privileges() {
    let (true, Some(_)) = (require_root(), browser()) else { return };
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let page = page(&stage.image(), stage.path());
    let result = ask(
        &page,
        stage.path(),
        1280,
        r##"
        result.ready = inner.documentElement.dataset.ready;
        result.title = inner.title;
        result.text = inner.body.innerText;
        result.cells = inner.querySelectorAll("#map g").length;
        result.steps = inner.querySelectorAll("#timeline .step").length;
        result.packages = each("#package-table .row", (row) => row.innerText.split("\n")[0]);
        result.overflow = inner.documentElement.scrollWidth - inner.documentElement.clientWidth;
        const search = inner.getElementById("file-search");
        search.value = "setuid"; search.dispatchEvent(new view.Event("input")); await settle(300);
        result.found = each("#file-table .row", (row) => row.firstChild.textContent);
        result.foot = inner.querySelector("#file-table .table-foot").textContent;
        each("#map g", (g) => g).find((g) => g.getAttribute("aria-label").startsWith("odd"))
            .dispatchEvent(new view.MouseEvent("click", { bubbles: true }));
        await settle(100);
        result.owned = each("#file-table .row", (row) => row.firstChild.textContent);
        [...inner.querySelectorAll("#map-mode button")][1].click();
        result.directories = each("#map g", (g) => g.getAttribute("aria-label"));
        "##,
    );
    assert_eq!(
        (result["ready"].as_str(), result["overflow"].as_i64()),
        (Some("yes"), Some(0)),
        "{result}"
    );
    assert!(result["title"].as_str().unwrap().starts_with("image-"), "{}", result["title"]);
    let text = result["text"].as_str().unwrap();
    for part in [
        "Findings",
        "Where the space goes",
        "How it was built",
        "Privileges and trust",
        "/usr/bin/capable",
        "cap_net_bind_service,cap_net_raw=ep",
        "odd.service",
        "Tiny 1",
        "install odd",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(result["cells"].as_u64() >= Some(2) && result["steps"].as_u64() >= Some(5), "{result}");
    let list = |key: &str| -> Vec<String> {
        result[key].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    assert!(list("packages").contains(&"odd".to_owned()), "{:?}", list("packages"));
    assert_eq!(list("found"), ["/usr/bin/setuid"]);
    assert!(result["foot"].as_str().unwrap().starts_with("1 of "), "{}", result["foot"]);
    assert_eq!(list("owned").len(), 6);
    assert!(
        list("directories").iter().any(|label| label.starts_with("usr/,")),
        "{:?}",
        list("directories")
    );
}

#[test]
fn the_page_fits_a_phone_and_a_desktop_screen() {
    let (true, Some(_)) = (require_root(), browser()) else { return };
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let page = page(&stage.image(), stage.path());
    for width in [400, 760, 1280] {
        let result = ask(
            &page,
            stage.path(),
            width,
            "result.width = view.innerWidth; result.overflow = inner.documentElement.scrollWidth \
             - inner.documentElement.clientWidth;
             result.hidden = [...inner.querySelectorAll('h1, h2, .figures dd')].filter((e) => \
             e.offsetParent && e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent);",
        );
        assert_eq!(
            (result["width"].as_u64(), result["overflow"].as_i64()),
            (Some(u64::from(width)), Some(0)),
            "{result}"
        );
        assert_eq!(result["hidden"], serde_json::json!([]), "cut off at width {width}");
    }
    // A picture for people, next to the other files of the tests.
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inspect.png");
    let words =
        [format!("--screenshot={}", picture.display()), "--window-size=1280,2400".to_owned()];
    chromium(
        stage.path(),
        &words.each_ref().map(String::as_str),
        &format!("file://{}", page.display()),
    );
    assert!(fs::metadata(&picture).unwrap().len() > 20_000, "the picture is empty");
}

#[test]
fn a_hostile_name_is_shown_as_text() {
    let Some(_) = browser() else { return };
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tree = directory.path().join("<img src=x onerror=document.title='owned'>");
    fs::create_dir_all(tree.join("etc")).unwrap();
    let hostile: [&[u8]; 7] = [
        b"<script>document.title='owned'<",
        b"--><!--<script>",
        b"\"><img src=x onerror=document.title='owned'>",
        b"'-alert(1)-'",
        b"${document.title='owned'}",
        "\u{202e}\u{2028}txt.exe".as_bytes(),
        b"@DATA@@SCRIPT@ & \xff\x1b[31m",
    ];
    for name in hostile {
        fs::write(tree.join(std::ffi::OsStr::from_bytes(name)), "x".repeat(9000)).unwrap();
    }
    // A name cannot contain a slash, but other texts can.
    fs::write(
        tree.join("etc/os-release"),
        "ID=x\nPRETTY_NAME=\"</script><script>document.title='owned'</script><h1>owned</h1>\"\n",
    )
    .unwrap();
    fs::write(
        tree.join("etc/passwd"),
        "</script><b>:x:0:0::/<i>:</title><script>document.title='owned'</script>\n",
    )
    .unwrap();
    let page = page(&tree, directory.path());
    let text = fs::read_to_string(&page).unwrap();
    assert_eq!(text.matches("<script").count(), 2, "one of data and one of code");
    let result = ask(
        &page,
        directory.path(),
        1280,
        r##"
        await settle(500);
        result.ready = inner.documentElement.dataset.ready;
        result.title = inner.title;
        result.foreign = [...inner.querySelectorAll("img, b b, iframe, script")].length;
        result.scripts = inner.scripts.length;
        result.headings = inner.querySelectorAll("h1").length;
        result.heading = inner.querySelector("h1").textContent;
        result.rows = each("#file-table .row", (row) => row.firstChild.textContent);
        result.system = inner.getElementById("system").textContent;
        "##,
    );
    assert_eq!(
        (result["ready"].as_str(), result["scripts"].as_u64(), result["headings"].as_u64()),
        (Some("yes"), Some(2), Some(1)),
        "{result}"
    );
    assert_eq!(result["foreign"], 2, "the two scripts and nothing else");
    assert_eq!(result["heading"], "<img src=x onerror=document.title='owned'>");
    assert_eq!(result["title"], "<img src=x onerror=document.title='owned'>");
    assert!(result["system"].as_str().unwrap().contains("</script><script>"), "{result}");
    let rows = result["rows"].to_string();
    assert!(
        rows.contains("/<script>document.title='owned'<") && rows.contains("@DATA@@SCRIPT@"),
        "{rows}"
    );
}

#[test]
fn a_page_of_twenty_two_thousand_files_stays_fast() {
    let Some(_) = browser() else { return };
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tree = directory.path().join("tree");
    for number in 0..110 {
        let below = tree.join(format!("usr/share/directory-{number}"));
        fs::create_dir_all(&below).unwrap();
        for file in 0..200 {
            fs::write(below.join(format!("file-{file}")), []).unwrap();
        }
    }
    fs::write(tree.join("usr/share/directory-77/needle"), "found").unwrap();
    let page = page(&tree, directory.path());
    let size = fs::metadata(&page).unwrap().len();
    assert!(size < 2_000_000, "{size} bytes");
    let result = ask(
        &page,
        directory.path(),
        1280,
        r##"
        result.rows = inner.querySelectorAll("#file-table .row").length;
        const search = inner.getElementById("file-search");
        const rows = inner.querySelector("#file-table .rows");
        rows.scrollTop = rows.scrollHeight;
        rows.dispatchEvent(new view.Event("scroll")); await settle(100);
        result.last = [...inner.querySelectorAll("#file-table .row")].at(-1).firstChild.textContent;
        search.value = "needle"; search.dispatchEvent(new view.Event("input")); await settle(300);
        result.found = each("#file-table .row", (row) => row.firstChild.textContent);
        const button = inner.querySelector("#file-table .table-head button");
        search.value = ""; search.dispatchEvent(new view.Event("input")); await settle(300);
        const began = view.performance.now();
        button.click(); button.click();
        result.sorting = view.performance.now() - began;
        "##,
    );
    assert!(result["rows"].as_u64() < Some(80), "{result}");
    assert_eq!(result["last"], "/usr/share/directory-99/file-99");
    assert_eq!(result["found"], serde_json::json!(["/usr/share/directory-77/needle"]));
    assert!(result["sorting"].as_f64() < Some(2000.0), "{result}");
}

#[test]
fn a_page_made_from_a_manifest_shows_the_facts_of_the_manifest() {
    let (true, Some(_)) = (require_root(), browser()) else { return };
    let stage: Stage = stage();
    stage.build(RECIPE).succeeds();
    let page = page(&stage.out().join("image.json"), stage.path());
    let result = ask(
        &page,
        stage.path(),
        1280,
        "result.ready = inner.documentElement.dataset.ready; result.sections = \
         [...inner.querySelectorAll('main section:not([hidden])')].map((s) => s.id);",
    );
    assert_eq!(result["ready"], "yes");
    assert_eq!(
        result["sections"],
        serde_json::json!(["space", "build", "packages", "trust", "identity"])
    );
}
