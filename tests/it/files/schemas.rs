//! The schemas for editors say what the reader says, and no text breaks the reader.

use proptest::prelude::{ProptestConfig, Strategy, prop_assert, proptest};
use vlmgate::config::environment::Environment;
use vlmgate::config::{policy_schema, service_schema, test_schema};

use crate::files::{EVERY_KEY, POLICY, SERVICE, json, load, service, validator};

/// A text with some of its bytes changed, lost or doubled.
fn damaged(text: &'static str) -> impl Strategy<Value = String> {
    let edit = (0..text.len(), 0..3_u8, "[ -~\n]");
    proptest::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, kind, letter) in edits {
            let at = at % bytes.len();
            match kind {
                0 => bytes[at] = letter.as_bytes()[0],
                1 => bytes.insert(at, letter.as_bytes()[0]),
                _ => drop(bytes.remove(at)),
            }
        }
        String::from_utf8(bytes).expect("ASCII stays ASCII")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_taken_or_told_and_never_breaks_the_reader(
        policy in damaged(EVERY_KEY),
        config in damaged(SERVICE),
    ) {
        for told in [load(&policy).err(), service(&config).err()].into_iter().flatten() {
            prop_assert!(!told.is_empty());
            prop_assert!(told.lines().count() <= 101);
        }
    }
}

/// `UPDATE_SCHEMAS=1 cargo test schemas` writes them.
#[test]
fn the_committed_schemas_are_those_of_the_reader() {
    let schemas = [
        ("policies/schemas/policy.v1.schema.json", policy_schema()),
        ("policies/schemas/policy-test.v1.schema.json", test_schema()),
        ("policies/schemas/vlmgate.v1.schema.json", service_schema()),
    ];
    for (path, schema) in schemas {
        let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        if Environment::process().get("UPDATE_SCHEMAS").is_some() {
            std::fs::write(path, &text).expect("written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(committed, text, "{path} is out of date: run with UPDATE_SCHEMAS=1");
    }
}

#[test]
fn the_schemas_take_what_the_reader_takes() {
    let policy = validator(&policy_schema());
    let shipped = std::fs::read_to_string("policies/product-photo.yaml").expect("shipped");
    for text in [POLICY, shipped.as_str()] {
        let errors: Vec<_> = policy.iter_errors(&json(text)).map(|one| one.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new());
    }
    let tests = validator(&test_schema());
    let shipped = std::fs::read_to_string("policies/product-photo.test.yaml").expect("shipped");
    let errors: Vec<_> = tests.iter_errors(&json(&shipped)).map(|one| one.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    let service = validator(&service_schema());
    let errors: Vec<_> = service.iter_errors(&json(SERVICE)).map(|one| one.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
}
