//! The description of the routes is held to the program, and its examples to the description.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::domain::record::Route;
use crate::domain::{AttemptOutcome, Basis, Decision, Format, Mode};
use crate::http::OPENAPI;
use crate::http::auth::Role;
use crate::http::problem::{Problem, ProblemKind};

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// Calls `visit` with every value of the tree.
fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
    visit(value);
    match value {
        Value::Object(members) => members.values().for_each(|one| walk(one, visit)),
        Value::Array(items) => items.iter().for_each(|one| walk(one, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        None => value,
        Some(target) => document.pointer(target.strip_prefix('#').unwrap()).unwrap(),
    }
}

/// Every operation, with its path and method.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, one)| (path.as_str(), method.as_str(), one))
        })
        .collect()
}

/// A validator for the schema component `name`.
fn validator(document: &Value, name: &str) -> jsonschema::Validator {
    schema_validator(document, &json!({"$ref": format!("#/components/schemas/{name}")}))
}

fn schema_validator(document: &Value, schema: &Value) -> jsonschema::Validator {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    jsonschema::validator_for(&schema).unwrap()
}

fn words(document: &Value, schema: &str) -> BTreeSet<String> {
    let words = document["components"]["schemas"][schema]["enum"].as_array().unwrap().iter();
    words.map(|word| word.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_reference_resolves_and_every_component_is_used() {
    let document = document();
    let mut targets = BTreeSet::new();
    walk(&document, &mut |value| {
        targets.extend(value.get("$ref").and_then(Value::as_str));
    });
    for target in &targets {
        let path = target.strip_prefix('#').unwrap();
        assert!(document.pointer(path).is_some(), "{target} is not there");
    }
    for kind in ["schemas", "parameters", "responses", "headers"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let target = format!("#/components/{kind}/{name}");
            assert!(targets.contains(target.as_str()), "{target} is not used");
        }
    }
}

#[test]
fn the_description_lists_these_routes() {
    let document = document();
    let routes = operations(&document);
    let routes: Vec<_> =
        routes.iter().map(|(path, method, _)| format!("{method} {path}")).collect();
    let expected = [
        "post /v1/verdicts",
        "get /v1/verdicts",
        "get /v1/verdicts/{id}",
        "get /v1/verdicts/{id}/image",
        "get /v1/verdicts/{id}/views",
        "get /v1/verdicts:export",
        "post /v1/verdicts/{id}/label",
        "get /v1/verdicts/{id}/labels",
        "get /v1/policies",
        "get /v1/budgets",
        "get /v1/judges",
        "get /v1/stats",
        "get /v1/drift",
        "get /v1/events",
        "post /admin/reload",
        "post /admin/drift:acknowledge",
        "post /admin/drills",
        "get /admin/drills",
        "get /admin/drills/{id}",
        "delete /admin/drills/{id}",
        "get /livez",
        "get /readyz",
        "get /healthz",
        "get /metrics",
        "get /openapi.json",
    ];
    let set = |routes: &[String]| routes.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(set(&routes), set(&expected.map(str::to_owned)));
}

#[test]
fn every_operation_has_its_own_id_and_names_the_role_it_needs() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{id} is used twice");
        let description = operation["description"].as_str().unwrap();
        let method = method.to_uppercase().parse().unwrap();
        match Role::needed(&method, path) {
            Some(role) => {
                let sentence = format!("Role `{}`.", role.label());
                assert!(description.starts_with(&sentence), "{method} {path}: {description}");
            }
            None => assert_eq!(operation["security"], json!([]), "{method} {path} is open"),
        }
    }
}

#[test]
fn every_problem_is_described_under_its_own_status() {
    let document = document();
    let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    assert_eq!(*codes, json!(ProblemKind::ALL.map(ProblemKind::code)));
    for kind in ProblemKind::ALL {
        let (status, code) = (kind.status().as_u16().to_string(), format!("`{}`", kind.code()));
        let is_there = operations(&document).iter().any(|(_, _, operation)| {
            let response = resolve(&document, &operation["responses"][&status]);
            response["description"].as_str().is_some_and(|text| text.contains(&code))
        });
        assert!(is_there, "{status} {code}");
    }
}

#[test]
fn every_problem_that_is_sent_is_as_described() {
    let document = document();
    let described = validator(&document, "Problem");
    for kind in ProblemKind::ALL {
        let problem = Problem::new(kind, "what went wrong").at("/vars/a~1b", "is not in the list");
        for id in [None, Some("order-7")] {
            let sent: Value = serde_json::from_slice(&problem.to_json(id)).unwrap();
            let faults: Vec<_> = described.iter_errors(&sent).map(|one| one.to_string()).collect();
            assert!(faults.is_empty(), "{kind:?}: {faults:?}");
        }
    }
    let shed = Problem::overloaded("full", Duration::from_secs(1));
    assert!(described.is_valid(&serde_json::from_slice(&shed.to_json(None)).unwrap()));
    assert!(!described.is_valid(&json!({"title": "half a problem"})));
}

#[test]
fn every_word_the_program_says_is_described() {
    let document = document();
    let says = |schema: &str, labels: &[&str]| {
        let described = words(&document, schema);
        for label in labels {
            assert!(described.contains(*label), "{schema}: {label}");
        }
    };
    says("Decision", &Decision::ALL.map(Decision::label));
    says("Basis", &Basis::ALL.map(Basis::label));
    says("Route", &Route::ALL.map(Route::label));
    says("Outcome", &AttemptOutcome::ALL.map(AttemptOutcome::label));
    let schemas = &document["components"]["schemas"];
    let formats = &schemas["ImageFacts"]["properties"]["format"]["enum"];
    assert_eq!(*formats, json!(Format::ALL.map(Format::label)));
    let modes = &schemas["PolicyRef"]["properties"]["mode"]["enum"];
    assert_eq!(*modes, json!([Mode::Enforce, Mode::Observe, Mode::Off].map(Mode::label)));
    let filter = &document["components"]["parameters"]["Basis"]["schema"]["enum"];
    assert_eq!(*filter, json!(Basis::ALL.map(Basis::label)));
}

#[test]
fn every_example_is_as_described() {
    let document = document();
    let mut checked = 0;
    walk(&document, &mut |value| {
        let (Some(schema), Some(examples)) = (value.get("schema"), value.get("examples")) else {
            return;
        };
        let described = schema_validator(&document, schema);
        for (name, example) in examples.as_object().unwrap() {
            let faults = described.iter_errors(&example["value"]);
            let faults: Vec<_> =
                faults.map(|one| format!("{}: {one}", one.instance_path())).collect();
            assert!(faults.is_empty(), "{name}: {faults:?}");
            checked += 1;
        }
    });
    assert!(10 < checked, "{checked} examples");
}

#[test]
fn a_verdict_must_have_every_key() {
    let document = document();
    let page = &document["paths"]["/v1/verdicts"]["get"]["responses"]["200"]["content"];
    let record = &page["application/json"]["examples"]["page"]["value"]["verdicts"][0];
    for schema in ["Verdict", "Record"] {
        let described = validator(&document, schema);
        assert!(described.is_valid(record));
        let keys = record.as_object().unwrap().keys();
        let optional = keys.filter(|key| {
            let mut less = record.clone();
            less.as_object_mut().unwrap().remove(*key);
            described.is_valid(&less)
        });
        let optional: Vec<_> = optional.map(String::as_str).collect();
        let record_only =
            ["at", "first_verdict", "judged_by", "pre", "propensity", "request_id", "seq", "vars"];
        assert_eq!(optional, if schema == "Verdict" { &record_only[..] } else { &[] });
    }
}
