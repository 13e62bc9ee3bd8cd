//! The explaining pictures that README shows: what `vlmgate check --explain` draws on three of the
//! pictures of `policies/fixtures`.

use std::collections::BTreeMap;
use std::fs;

use vlmgate::config::environment::Environment;
use vlmgate::config::files::PolicyFiles;
use vlmgate::domain::{Candidate, Format};
use vlmgate::imaging::explain;

use crate::world::root;

/// The picture, its background, what it is called here, and the checks that are drawn on it.
const EXPLAINED: [(&str, &str, &str, &[&str]); 3] = [
    ("mug-halo.png", "transparent", "halo.png", &["halo"]),
    ("mug-littered.jpg", "white", "littered.png", &["white-back", "littered"]),
    ("mug-floating.jpg", "white", "floating.png", &["floating"]),
];

/// `UPDATE_FIXTURES=1 cargo test --test it explained` draws them.
#[test]
fn the_pictures_in_the_readme_are_what_explain_draws() {
    let policy = PolicyFiles::shipped().load_one("product-photo.yaml", None).expect("the policy");
    let folder = root().join("tests/fixtures/explained");
    for (picture, background, name, checks) in EXPLAINED {
        let bytes = fs::read(root().join("policies/fixtures").join(picture)).expect("a picture");
        let sent = BTreeMap::from([("background".to_owned(), background.to_owned())]);
        let applied = policy.checks(&policy.vars(&sent).expect("a background"));
        let candidate = Candidate::admit(bytes.into(), &Format::ALL, 12 << 20).expect("admitted");
        let explained = explain(&candidate, 40_000_000, &applied).expect("a picture");
        let drawn: Vec<&str> =
            explained.drawn.iter().map(|(one, _)| one.finding.check.as_str()).collect();
        assert_eq!(drawn, checks, "{picture}");
        let path = folder.join(name);
        if Environment::process().get("UPDATE_FIXTURES").is_some() {
            fs::create_dir_all(&folder).expect("tests/fixtures/explained can be made");
            fs::write(&path, &explained.png).expect("tests/fixtures/explained can be written");
        }
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept.len() < 100_000, "{name}: {} bytes are no small picture", kept.len());
        let open = |bytes: &[u8]| image::load_from_memory(bytes).map(|one| one.to_rgb8());
        let (kept, drawn) = (open(&kept), open(&explained.png).expect("a drawn picture"));
        let kept = kept.unwrap_or_else(|why| panic!("{name}: {why}; draw with UPDATE_FIXTURES=1"));
        assert_eq!(kept.dimensions(), drawn.dimensions(), "{name}");
        // another platform or codec may round differently: a place here and there, never a mark
        let off = kept.iter().zip(drawn.iter()).filter(|(a, b)| a.abs_diff(**b) > 8).count();
        assert!(off < kept.len() / 200, "{name}: {off} samples are off");
        assert!(README.contains(&format!("tests/fixtures/explained/{name}")), "{name}");
    }
}

const README: &str = include_str!("../../README.md");
