//! Google's OAuth endpoint and metadata server, as far as a service account needs them.

use serde_json::json;

use crate::reply::SIMULATED_TOKEN;
use crate::reply::json_response;
use crate::wire::Request;
use crate::wire::Response;

/// Turns a signed assertion into an access token; the signature is not checked, the form is.
pub(crate) fn access_token(request: &Request) -> Response {
    let form = String::from_utf8_lossy(&request.body);
    let field = |name: &str| {
        let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    };
    let is_bearer_grant = field("grant_type").is_some_and(|grant| grant.ends_with("jwt-bearer"));
    let is_jwt = field("assertion").is_some_and(|assertion| {
        let parts: Vec<&str> = assertion.split('.').collect();
        parts.len() == 3 && parts.iter().all(|part| !part.is_empty())
    });
    if !is_bearer_grant || !is_jwt {
        let description = "Invalid JWT: it must have a header, claims and a signature.";
        let body = json!({"error": "invalid_grant", "error_description": description});
        return json_response(400, Vec::new(), &body);
    }
    json_response(200, Vec::new(), &token())
}

/// What the metadata server says; without `Metadata-Flavor: Google` it says nothing.
pub(crate) fn metadata(request: &Request, is_token: bool) -> Response {
    let flavour = ("metadata-flavor", "Google".to_owned());
    if request.header("metadata-flavor") != Some("Google") {
        let body = b"Missing Metadata-Flavor:Google header.".to_vec();
        return Response { status: 403, headers: vec![flavour], body };
    }
    if is_token {
        return json_response(200, vec![flavour], &token());
    }
    let headers = vec![flavour, ("content-type", "application/text".to_owned())];
    Response { status: 200, headers, body: b"simulated-project".to_vec() }
}

fn token() -> serde_json::Value {
    json!({"access_token": SIMULATED_TOKEN, "expires_in": 3599, "token_type": "Bearer"})
}
