//! The files that a story's gate is started with.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::config::vlmgate_config;
use crate::provider::SimulatedProvider;
use crate::rig::RigError;
use crate::rig::calibration::PASS_AT;
use crate::rig::direct::CRITERIA;
use crate::story::POLICY;
use crate::story::law::CAST;
use crate::story::law::Law;

/// Whole days of history that the gate learns what is normal from.
pub(crate) const BASELINE_DAYS: u32 = 2;

/// What differs between two stories' policies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    /// Lines that say how images are judged twice, as the policy has them; none: they are not.
    pub(crate) pairs: String,
    /// Whether a slow judge gets company.
    pub(crate) hedges: bool,
    /// What `vlmgate calibrate` said to paste below the route; none: nobody is calibrated.
    pub(crate) offsets: String,
}

/// Writes `vlmgate.yaml` and the policy into a folder.
pub(crate) fn write(
    folder: &Path,
    providers: &[SimulatedProvider],
    policy: &Policy,
    law: &Law,
) -> Result<(), RigError> {
    let policies = folder.join("policies");
    fs::create_dir_all(&policies).map_err(RigError::io(policies.display().to_string()))?;
    let files = [
        (folder.join("vlmgate.yaml"), service(folder, providers)),
        (policies.join(format!("{POLICY}.yaml")), policy_file(policy, law)),
    ];
    for (file, text) in files {
        fs::write(&file, text).map_err(RigError::io(file.display().to_string()))?;
    }
    Ok(())
}

fn service(folder: &Path, providers: &[SimulatedProvider]) -> String {
    let folder = folder.display();
    // on a busy machine a connection may take longer than the 300 ms that are usual, and each that
    // does is a failover that no story tells of
    let judges = vlmgate_config(providers).replace("base_url:", "connect_timeout: 2s, base_url:");
    format!(
        "server: {{ drain: {{ accept_for: 0s, at_most: 10s }} }}\n\
         store: {{ url: \"sqlite://{folder}/data/vlmgate.db\" }}\n\
         policies: {{ dir: \"{folder}/policies\", reload: off }}\n\
         drift: {{ baseline_days: {BASELINE_DAYS} }}\n\
         shadow: {{ burst: {{ images: 1200, per_day: 1000 USD }} }}\n{judges}"
    )
}

fn policy_file(policy: &Policy, law: &Law) -> String {
    let judges: Vec<&str> = CAST.iter().map(|cast| cast.judge).collect();
    let judges = judges.join(", ");
    let hedge = if policy.hedges { "{ after: p95, budget: 10% }" } else { "off" };
    let mut text = format!(
        "format: 1\nname: {POLICY}\n\
         description: Simulated. Is this generated product picture fit to be shown in a shop?\n\
         mode: enforce\n\
         input:\n  accept: [jpeg]\n  views: [{{ id: whole, max_side: 1024 }}]\n\
         checks:\n  - {{ id: sharp, type: sharpness, min_laplacian_var: 2000 }}\n\
         criteria:\n"
    );
    for criterion in CRITERIA {
        // what is pasted moves the lines of the law itself: written as well, it would move them twice
        let written = law.lines().iter().filter(|_| policy.offsets.is_empty());
        let own = written.filter_map(|(judge, lines)| {
            let line = lines.get(criterion).filter(|line| 1e-9 < (*line - PASS_AT).abs())?;
            Some(format!("{judge}: {line:.3}"))
        });
        let own = own.collect::<Vec<_>>().join(", ");
        let own = if own.is_empty() { own } else { format!(", pass_at_by_judge: {{ {own} }}") };
        // a String takes any text
        let _written = writeln!(
            text,
            "  - {{ id: {criterion}, ask: \"Is there nothing to fault?\", pass_at: {PASS_AT:.2}{own} }}"
        );
    }
    let _written = write!(
        text,
        "borderline: 0\n\
         prompt:\n  system: You are a product image quality gate.\n  user: |\n    \
         Answer each question with a score from 0 to 1.\n    \
         {{%- for c in criteria %}}\n    - {{{{ c.id }}}}: {{{{ c.ask }}}}\n    {{%- endfor %}}\n\
         route:\n  judges: [{judges}]\n  deadline: 5s\n  hedge: {hedge}\n  stream: false\n{}{}",
        policy.offsets, policy.pairs
    );
    text
}
