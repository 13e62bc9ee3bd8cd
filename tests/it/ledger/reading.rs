//! Lists, pages and exports.

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tokio::runtime::Runtime;
use vlmgate::clock::Timestamp;
use vlmgate::domain::{Basis, Decision, Digest, Route};
use vlmgate::ledger::Appended;
use vlmgate::ledger::form::RecordForm;
use vlmgate::ledger::reader::Filter;

use crate::ledger::records::{START_US, any_record, mixed, record};
use crate::ledger::{all, append, in_commit_order, open, stored};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_record_comes_back_whole(one in any_record(1), other in any_record(2)) {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let (_dir, ledger) = open().await;
            let first = append(&ledger, one.clone()).await;
            let second = append(&ledger, other.clone()).await;
            prop_assert_eq!(first, Appended { recorded: true, seq: Some(1) });
            prop_assert_eq!(second, Appended { recorded: true, seq: Some(2) });
            let (one, other) = (stored(&one, Some(1)), stored(&other, Some(2)));
            let reader = ledger.reader();
            prop_assert_eq!(reader.get(one.id).await.unwrap(), Some(one.clone()));
            for flag in &one.flags {
                let filter = Filter { flag: Some(flag.clone()), ..Filter::default() };
                let found = all(reader, &filter, 9).await;
                prop_assert!(found.contains(&one), "flag {:?}", flag);
            }
            for failed in &one.failed {
                let filter = Filter { failed: Some(failed.clone()), ..Filter::default() };
                let found = all(reader, &filter, 9).await;
                prop_assert!(found.contains(&one), "failed on {:?}", failed);
            }
            prop_assert_eq!(all(reader, &Filter::default(), 9).await, vec![other, one]);
            Ok::<_, TestCaseError>(())
        })?;
    }
}

pub(super) fn means(filter: &Filter, one: &RecordForm) -> bool {
    fn fits<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
        wanted.is_none() || wanted == found
    }
    fits(filter.policy.as_ref(), Some(&one.policy.name))
        && fits(filter.verdict.as_ref(), Some(&one.verdict))
        && fits(filter.basis.as_ref(), Some(&one.basis))
        && fits(filter.judge.as_ref(), one.judge.as_ref().map(|judge| &judge.name))
        && fits(filter.team.as_ref(), one.team.as_ref())
        && fits(filter.external_id.as_ref(), one.external_id.as_ref())
        && fits(filter.image.as_ref(), Some(&one.image.digest))
        && filter.since.is_none_or(|since| since <= one.at)
        && filter.until.is_none_or(|until| one.at < until)
        && filter.flag.as_ref().is_none_or(|flag| one.flags.contains(flag))
        && fits(filter.route.as_ref(), one.route.as_ref())
        && filter.failed.as_ref().is_none_or(|failed| one.failed.contains(failed))
}

#[tokio::test]
async fn every_pair_of_filters_finds_what_both_mean_newest_first() {
    let setters: [fn(&mut Filter); 12] = [
        |one| one.policy = Some("banner".to_owned()),
        |one| one.verdict = Some(Decision::Fail),
        |one| one.basis = Some(Basis::Judge),
        |one| one.judge = Some("claude-mini".to_owned()),
        |one| one.team = Some("shoes".to_owned()),
        |one| one.since = Some(Timestamp(START_US + 10_000_000)),
        |one| one.until = Some(Timestamp(START_US + 50_000_000)),
        |one| one.flag = Some("soft".to_owned()),
        |one| one.route = Some(Route::Failover),
        |one| one.failed = Some("cutout".to_owned()),
        |one| one.external_id = Some("sku-3".to_owned()),
        |one| one.image = Some(Digest::of(&31_u32.to_be_bytes())),
    ];
    let (_dir, ledger) = open().await;
    join_all((0..60).map(|n| append(&ledger, mixed(n)))).await;
    let mut newest_first = in_commit_order(ledger.reader()).await;
    newest_first.reverse();
    for (n, one) in setters.iter().enumerate() {
        for other in setters.iter().skip(n) {
            let mut filter = Filter::default();
            one(&mut filter);
            other(&mut filter);
            let found = all(ledger.reader(), &filter, 4).await;
            let wanted = newest_first.iter().filter(|one| means(&filter, one)).cloned();
            assert_eq!(found, wanted.collect::<Vec<_>>(), "{filter:?}");
            let alone = std::ptr::fn_addr_eq(*one, *other);
            assert!(!alone || !found.is_empty(), "nothing to find: {filter:?}");
        }
    }
}

#[tokio::test]
async fn pages_hold_still_while_records_arrive() {
    let (_dir, ledger) = open().await;
    join_all((0..20).map(|n| append(&ledger, record(n)))).await;
    let before = all(ledger.reader(), &Filter::default(), 500).await;
    let mut seen = Vec::new();
    let mut cursor = None;
    for n in 20.. {
        let page = ledger.reader().list(&Filter::default(), cursor, 3).await.unwrap();
        seen.extend(page.records);
        let Some(next) = page.next else { break };
        cursor = Some(next.to_string().parse().unwrap());
        assert!(append(&ledger, record(n)).await.recorded);
    }
    assert_eq!(seen, before);
}

#[tokio::test]
async fn an_export_is_the_list_without_pages() {
    let (_dir, ledger) = open().await;
    join_all((0..1_203).map(|n| append(&ledger, mixed(n)))).await;
    for filter in [Filter::default(), Filter { flag: Some("halo".to_owned()), ..Filter::default() }]
    {
        let listed = all(ledger.reader(), &filter, 101).await;
        assert!(500 < listed.len(), "the export must turn a page");
        let exported = ledger.reader().export(filter).map_ok(|one| one.record);
        assert_eq!(exported.try_collect::<Vec<_>>().await.unwrap(), listed);
    }
    let mut cut = Box::pin(ledger.reader().export(Filter::default()));
    assert!(cut.next().await.unwrap().is_ok(), "an export may be dropped in the middle");
}
