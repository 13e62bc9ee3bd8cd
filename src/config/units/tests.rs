use super::*;
use crate::config::yaml;

/// Reads `text` as a `T` both ways: by the reader and by its schema, which must agree.
fn read<T: Form>(text: &str) -> Result<T, String> {
    let mut report = Report::of("f.yaml");
    let node = yaml::read(text.as_bytes(), &mut report).expect("a value");
    let read = T::read(&At { node: &node, key: "key".to_owned() }, &mut report);
    let json = node.to_json();
    let valid = jsonschema::validator_for(&T::schema()).unwrap().is_valid(&json);
    assert_eq!(valid, read.is_some(), "the schema and the reader disagree about {text}");
    read.ok_or_else(|| report.into_found().iter().map(|one| one.message.clone()).collect())
}

#[test]
fn times_carry_their_unit() {
    let of = |text| read::<Time>(text).map(|time| time.0);
    assert_eq!(of("300ms"), Ok(Duration::from_millis(300)));
    assert_eq!(of("1.5s"), Ok(Duration::from_millis(1_500)));
    assert_eq!(of("90d"), Ok(Duration::from_secs(90 * 86_400)));
    for wrong in ["5", "5 s", "s", "-5s", "5sec", "1.s", ".5s", "5.5", "''"] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
    assert_eq!(of("5").unwrap_err(), "5 is not a time with its unit such as 300ms, 5s or 90d");
}

#[test]
fn a_time_is_shown_as_it_would_be_written() {
    for text in ["300ms", "5s", "2m", "12h", "90d", "4980ms"] {
        assert_eq!(show_time(read::<Time>(text).unwrap().0), text);
    }
}

#[test]
fn sizes_are_whole_bytes() {
    let of = |text| read::<Bytes>(text).map(|bytes| bytes.0);
    assert_eq!(of("12MiB"), Ok(12 << 20));
    assert_eq!(of("1.5kB"), Ok(1_500));
    assert_eq!(of("4096"), Ok(4_096));
    for wrong in ["12mib", "12 MiB", "0", "-1", "1.5", "MiB"] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
    assert_eq!(read::<Pixels>("40MP"), Ok(Pixels(40_000_000)));
    assert_eq!(read::<Pixels>("0.5MP"), Ok(Pixels(500_000)));
    assert!(read::<Pixels>("40mp").is_err());
}

#[test]
fn a_share_is_a_percentage_or_a_number() {
    let of = |text| read::<Share>(text).map(|share| share.0);
    assert_eq!(of("35%"), Ok(0.35));
    assert_eq!(of("0.5%"), Ok(0.005));
    assert_eq!(of("100%"), Ok(1.0));
    assert_eq!(of("0.97"), Ok(0.97));
    assert_eq!(of("1"), Ok(1.0));
    for wrong in ["101%", "35 %", "-5%", "1.2", "'%'", "1e1%", "0035%"] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn money_is_exact_to_the_millionth() {
    let of = |text| read::<Money>(text).map(|money| money.0);
    assert_eq!(of("0.004 USD"), Ok(MicroUsd(4_000)));
    assert_eq!(of("400 USD"), Ok(MicroUsd(400_000_000)));
    for wrong in ["0.004", "0.004USD", "0.004 EUR", "$0.004", "0.0000001 USD"] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
    assert_eq!(read::<PerMillion>("0.10"), Ok(PerMillion(100)));
    assert!(read::<PerMillion>("-1").is_err());
}

#[test]
fn scores_lie_between_0_and_1() {
    assert_eq!(read::<Unit>("0.7"), Ok(Number(0.7)));
    assert_eq!(read::<Unit>("1"), Ok(Number(1.0)));
    assert_eq!(read::<Unit>("1.7").unwrap_err(), "1.7 is not between 0 and 1");
    assert_eq!(read::<Unit>("70%").unwrap_err(), "\"70%\" is not a number between 0 and 1");
}

#[test]
fn whole_numbers_keep_to_their_range() {
    assert_eq!(read::<Whole<1, 100>>("85"), Ok(Whole(85)));
    for wrong in ["0", "101", "8.5", "'85'", "99999999999", "true"] {
        assert!(read::<Whole<1, 100>>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn names_keep_to_their_letters() {
    assert!(read::<Name<Word>>("edge_artifacts").is_ok());
    assert!(read::<Name<Word>>(&"a".repeat(41)).is_ok());
    for wrong in ["Edge", "edge-artifacts", "1st", "''", "a b", "é", &"a".repeat(42)] {
        assert!(read::<Name<Word>>(wrong).is_err(), "{wrong}");
    }
    assert!(read::<Name<Public>>("gpt-6.luna_2").is_ok());
    assert!(read::<Name<Public>>("-x").is_err());
    assert!(read::<Name<Tag>>("big-enough").is_ok());
}

#[test]
fn colours_and_quantiles_are_written_one_way() {
    assert_eq!(read::<Colour>("'#ff8000'"), Ok(Colour([255, 128, 0])));
    for wrong in ["'#fff'", "white", "'#gggggg'", "ffffff", "'#+12345'"] {
        assert!(read::<Colour>(wrong).is_err(), "{wrong}");
    }
    assert_eq!(read::<Quantile>("p95"), Ok(Quantile(0.95)));
    for wrong in ["p100", "p5", "95", "p49", "p+9", "p99.9"] {
        assert!(read::<Quantile>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn text_says_something_and_ends() {
    assert_eq!(read::<Prose<5>>("hello").unwrap().text, "hello");
    assert_eq!(read::<Prose<5>>("hello!").unwrap_err(), "has 6 characters, the limit is 5");
    assert!(read::<Prose<5>>("'  '").is_err());
    assert!(read::<Prose<5>>("5").is_err());
}

#[test]
fn a_margin_moves_by_at_most_one_either_way() {
    let of = |text| read::<Shift>(text).map(|shift| shift.0);
    assert_eq!((of("0.08"), of("-1"), of("1")), (Ok(0.08), Ok(-1.0), Ok(1.0)));
    for wrong in ["1.01", "-2", "'0.1'", "8%"] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_digest_is_written_one_way_alone() {
    let digest = Digest::of(b"asked").to_string();
    assert_eq!(read::<Sealed>(&format!("\"{digest}\"")), Ok(Sealed(Digest::of(b"asked"))));
    for wrong in [digest.to_uppercase(), digest.replace("b3:", ""), format!("{digest}0")] {
        assert!(read::<Sealed>(&format!("\"{wrong}\"")).is_err(), "{wrong}");
    }
}

#[test]
fn a_date_is_written_with_all_its_digits() {
    assert_eq!(read::<Date>("1970-01-11"), Ok(Date(Day(10))));
    for wrong in ["70-01-11", "11.1.1970", "1970-1-11", "19700111"] {
        assert!(read::<Date>(wrong).is_err(), "{wrong}");
    }
}
