//! The files that a gate is started with: judges `a`, `b` and `c`, and the policy of the run.

pub(crate) mod shipped;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::rig::RigError;
use crate::rig::calibration::Lines;
use crate::rig::calibration::PASS_AT;
use crate::rig::direct::CRITERIA;
use crate::rig::providers::Provider;
use crate::scenario::PolicyKind;
use crate::scenario::Scenario;

/// The name of the policy.
pub(crate) const POLICY: &str = "rig";

/// How long a gate that was told to stop still accepts.
pub(crate) const ACCEPT_FOR_S: f64 = 1.0;

/// What the gate is configured with.
pub(crate) struct Files<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) providers: &'a [Provider],
    pub(crate) deadline_ms: u64,
    /// Where pass begins for each judge.
    pub(crate) lines: &'a Lines,
    /// The folder that holds everything.
    pub(crate) folder: String,
}

impl Files<'_> {
    /// Writes them into the folder.
    pub(crate) fn write(&self) -> Result<(), RigError> {
        let folder = Path::new(&self.folder);
        let policies = folder.join("policies");
        fs::create_dir_all(&policies).map_err(RigError::io(policies.display().to_string()))?;
        for (file, text) in [
            (folder.join("vlmgate.yaml"), self.service()),
            (policies.join("rig.yaml"), self.policy()?),
        ] {
            fs::write(&file, text).map_err(RigError::io(file.display().to_string()))?;
        }
        shipped::write_lists(&policies)
    }

    /// `vlmgate.yaml`.
    fn service(&self) -> String {
        let mut text = format!(
            "server: {{ max_in_flight: 512, drain: {{ accept_for: {ACCEPT_FOR_S}s, at_most: 30s }} }}\n\
             store: {{ url: \"sqlite://{folder}/data/vlmgate.db\" }}\n\
             policies: {{ dir: \"{folder}/policies\", reload: off }}\n\
             providers:\n",
            folder = self.folder
        );
        for provider in self.providers {
            let (kind, url) = (provider.dialect.label(), &provider.base_url);
            let name = &provider.name;
            // a String takes any text
            let _written = writeln!(
                text,
                "  {name}: {{ kind: {kind}, base_url: \"{url}\", key: simulated, simulated: true }}"
            );
        }
        text.push_str("judges:\n");
        for provider in self.providers {
            let (name, model) = (&provider.name, provider.model);
            let stream = if self.scenario.streamed { "" } else { ", stream: false" };
            let _written = writeln!(
                text,
                "  {name}: {{ provider: {name}, model: {model}, price: {{ input: 0.10, output: 0.50 }}{stream} }}"
            );
        }
        text
    }

    /// The policy of the run, or what is changed in the one that ships.
    fn policy(&self) -> Result<String, RigError> {
        let checks = checks(self.scenario.policy)?;
        let views = match self.scenario.policy {
            PolicyKind::PixelFree => "[{ id: whole, max_side: 1024 }]".to_owned(),
            PolicyKind::Realistic => "[{ id: whole, max_side: 768 }]".to_owned(),
            PolicyKind::Shipped => shipped::views()?,
        };
        let mut text = format!(
            "format: 1\nname: {POLICY}\ndescription: What a load test asks of every picture.\nmode: enforce\n\
             input:\n  accept: [jpeg]\n  views: {views}\n{checks}criteria:\n"
        );
        for criterion in CRITERIA {
            let own =
                if self.scenario.calibrated { self.own_lines(criterion) } else { String::new() };
            let _written = writeln!(
                text,
                "  - {{ id: {criterion}, ask: \"Is there nothing to fault?\", pass_at: {PASS_AT:.2}{own} }}"
            );
        }
        let (judges, deadline_ms) = (self.scenario.judges.join(", "), self.deadline_ms);
        let _written = write!(
            text,
            "borderline: 0\n\
             prompt:\n  system: You are a product image quality gate.\n  user: |\n    \
             Answer each question with a score from 0 to 1.\n    \
             {{%- for c in criteria %}}\n    - {{{{ c.id }}}}: {{{{ c.ask }}}}\n    {{%- endfor %}}\n\
             answer: {{ reason_chars: 160, max_output_tokens: 300 }}\n\
             route:\n  judges: [{judges}]\n  deadline: {deadline_ms}ms\n  floor: 300ms\n  keep_back: 20ms\n  \
             max_attempts: 3\n  hedge: {{ after: p95, budget: 10% }}\n  on_deadline: review\n  on_no_judge: review\n\
             record: {{ images: [] }}\n"
        );
        Ok(text)
    }

    /// Where pass begins for each judge, as exact as scores are.
    fn own_lines(&self, criterion: &str) -> String {
        let line = |(judge, lines): (&String, &BTreeMap<String, f64>)| {
            lines.get(criterion).map(|line| format!("{judge}: {line:.3}"))
        };
        let own: Vec<String> = self.lines.iter().filter_map(line).collect();
        format!(", pass_at_by_judge: {{ {} }}", own.join(", "))
    }
}

/// What is measured of the pixels, as lines of a policy.
pub(crate) fn checks(policy: PolicyKind) -> Result<String, RigError> {
    let checks = match policy {
        PolicyKind::PixelFree => String::new(),
        PolicyKind::Realistic => "checks:\n  \
             - { id: big-enough, type: size, min_width: 256, min_height: 256, on_fail: fail }\n  \
             - { id: not-blank, type: contrast, min_stddev: 4, on_fail: fail }\n  \
             - { id: exposed, type: exposure, subject: [0.02, 0.98] }\n"
            .to_owned(),
        PolicyKind::Shipped => shipped::checks()?,
    };
    Ok(checks)
}
