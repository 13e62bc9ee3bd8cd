//! Reading records: pages, one record, its image, exports. Nothing here can change or delay a
//! verdict: these routes use the ledger's readers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::http::Face;
use crate::http::filter::{ExportFormat, ExportQuery, Filters, ListQuery, next_link};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::query::Parameters;
use crate::http::range::written;
use crate::ledger::LedgerError;
use crate::ledger::export::Whole;
use crate::ledger::form::RecordForm;
use crate::ledger::reader::{Cursor, Filter};
use crate::ledger::table::{csv_header, csv_row};

#[derive(Serialize)]
struct Page {
    verdicts: Vec<RecordForm>,
    next: Option<String>,
    views: BTreeMap<Uuid, Vec<String>>,
    labels: BTreeMap<Uuid, &'static str>,
}

/// `GET /v1/verdicts`: newest first.
pub(super) async fn list(State(face): State<Arc<Face>>, uri: Uri) -> Result<Response, Problem> {
    let query = ListQuery::of(&uri, Timestamp::now())?;
    let cursor: Option<Cursor> = match &query.cursor {
        None => None,
        Some(text) => {
            let read = text.parse();
            Some(read.map_err(|_| Problem::bad_field("/cursor", "is not one that a page gave"))?)
        }
    };
    let page = face.gate.ledger.reader().list(&filter(query.filters), cursor, query.limit).await;
    let page = page.map_err(unreadable)?;
    let next = page.next.map(|cursor| cursor.to_string());
    let link = next.as_deref().and_then(|cursor| next_link(&uri, cursor));
    let views = face.gate.ledger.reader().views(&page.records).await.map_err(unreadable)?;
    let answered = face.gate.ledger.reader().answered(&page.records).await.map_err(unreadable)?;
    let labels = answered.into_iter().map(|(id, said)| (id, said.label())).collect();
    let page = Page { verdicts: page.records, next, views, labels };
    let mut response = written(face.gate.ledger.reader(), page).await?;
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// `GET /v1/verdicts/{id}`.
pub(super) async fn one(
    State(face): State<Arc<Face>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Whole>, Problem> {
    let id = readable(id)?;
    let reader = face.gate.ledger.reader();
    let record = reader.get(id_of(&id)?).await.map_err(unreadable)?;
    let record = record.ok_or_else(|| no_record(&id))?;
    let whole = reader.whole(vec![record]).await.map_err(unreadable)?;
    whole.into_iter().next().map(Json).ok_or_else(|| no_record(&id))
}

/// `GET /v1/verdicts/{id}/views`: which pictures are kept of it.
pub(super) async fn views(
    State(face): State<Arc<Face>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let id = readable(id)?;
    let reader = face.gate.ledger.reader();
    let found = reader.get(id_of(&id)?).await.map_err(unreadable)?.ok_or_else(|| no_record(&id))?;
    let kept = reader.views(&[found]).await.map_err(unreadable)?;
    let views: Vec<_> = kept.into_values().flatten().collect();
    Ok(Json(json!({ "views": views })))
}

/// `GET /v1/verdicts/{id}/image?view=ID`: as the judge saw it.
pub(super) async fn image(
    State(face): State<Arc<Face>>,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let id = readable(id)?;
    let mut parameters = Parameters::of(&uri)?;
    let view = parameters.take("view");
    parameters.finish(&["view"])?;
    let kept =
        face.gate.ledger.reader().image(id_of(&id)?, view.as_deref()).await.map_err(unreadable)?;
    let Some((media_type, bytes)) = kept else {
        let detail =
            format!("no image is kept for {id}: the policy's record.images says which are");
        return Err(Problem::new(ProblemKind::NotFound, detail));
    };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// `GET /v1/verdicts:export`: every record that passes, streamed a page at a time.
pub(super) async fn export(State(face): State<Arc<Face>>, uri: Uri) -> Result<Response, Problem> {
    let query = ExportQuery::of(&uri, Timestamp::now())?;
    let format = query.format;
    let head = match format {
        ExportFormat::Ndjson => Bytes::new(),
        ExportFormat::Csv => csv_header().map(Bytes::from).map_err(unreadable)?,
    };
    let records = face.gate.ledger.reader().export(filter(query.filters));
    let lines = records.map(move |record| record.and_then(|record| line(&record, format)));
    let first = futures_util::stream::iter([Ok::<_, LedgerError>(head)]);
    let body = Body::from_stream(first.chain(lines).inspect(|line| {
        if let Err(why) = line {
            tracing::error!(%why, "an export broke off");
        }
    }));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn line(whole: &Whole, format: ExportFormat) -> Result<Bytes, LedgerError> {
    match format {
        ExportFormat::Csv => csv_row(&whole.record).map(Bytes::from),
        ExportFormat::Ndjson => {
            let json = serde_json::to_vec(whole);
            let mut line = json.map_err(|why| LedgerError::Store(why.to_string()))?;
            line.push(b'\n');
            Ok(Bytes::from(line))
        }
    }
}

fn filter(filters: Filters) -> Filter {
    let Filters { policy, verdict, basis, judge, team, flag, route, failed, since, until } =
        filters;
    let rest = Filter::default();
    Filter { policy, verdict, basis, judge, team, flag, route, failed, since, until, ..rest }
}

/// The id as text; one that is not even text names no record.
pub(super) fn readable(id: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    id.map(|Path(id)| id).map_err(|_| no_record(""))
}

pub(super) fn id_of(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| no_record(text))
}

pub(super) fn no_record(id: &str) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("there is no record {id:?}"))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn unreadable(why: LedgerError) -> Problem {
    tracing::error!(%why, "the ledger cannot be read");
    Problem::internal()
}
