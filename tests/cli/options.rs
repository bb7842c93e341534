//! Options and names that a command line may get wrong.

use crate::{osimg, recipe, text};

#[test]
fn plan_accepts_the_options_that_name_the_result_of_a_build() {
    let (_dir, path) = recipe("install bash\nts run\n");
    let repository = "r=https://example.invalid/r";
    let named = ["--name", "web", "--image-version", "7", "--registry", "dir:/srv/os"];
    let common = ["plan", &path, "--repo", repository, "--cache", "/srv/cache"];
    let output = osimg(&[&common[..], &named].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let plan = text(&output.stdout);
    assert!(plan.contains("as image 'web' version 7"), "{plan}");
    assert!(plan.contains("output dir:/srv/os: tgz"), "{plan}");
    let output = osimg(&[&common[..], &["--output", "os.tgz"]].concat());
    assert!(text(&output.stdout).contains("output os.tgz"), "{output:?}");
}

#[test]
fn plan_fails_like_a_build_without_repositories() {
    let (_dir, path) = recipe("repo disable *\ninstall bash\nts run\n");
    for more in [&[][..], &["--json"]] {
        let arguments = ["plan", &path, "--repo", "r=https://example.invalid/r"];
        let output = osimg(&[&arguments[..], more].concat());
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        for part in ["no repository is enabled", "--repo ID=URL"] {
            assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
        }
        assert!(text(&output.stdout).contains("bash"), "the plan is shown all the same");
    }
}

#[test]
fn a_recipe_whose_stem_cannot_name_an_image_needs_the_option_for_the_name() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for stem in ["my image", "-a", ".hidden.b", "a\tb", "latest"] {
        let path = dir.path().join(format!("{stem}.yum"));
        std::fs::write(&path, "install bash\nts run\n").expect("a recipe");
        let path = path.to_string_lossy().into_owned();
        let arguments = ["plan", &path, "--repo", "r=https://example.invalid/r"];
        let output = osimg(&arguments);
        assert_eq!(output.status.code(), Some(2), "{stem}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("--name NAME"), "{}", text(&output.stderr));
        let output = osimg(&[&arguments[..], &["--name", "good"]].concat());
        assert_eq!(output.status.code(), Some(0), "{stem}: {}", text(&output.stderr));
    }
}

#[test]
fn an_unknown_finding_cannot_be_allowed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tarball = dir.path().join("os.tar");
    std::fs::write(&tarball, [0; 1024]).expect("a file");
    let tarball = tarball.to_string_lossy().into_owned();
    for (name, part) in [
        ("kernl", "did you mean kernel?"),
        ("program-*", "--allow program-dracut"),
        ("*", "patterns are not supported"),
        ("something-else-entirely", "the names: "),
    ] {
        let output = osimg(&["verify", &tarball, "--allow", name]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
}
