//! What a policy file says of judges that are asked behind verdicts.

use crate::config::form::form;
use crate::config::units::{Money, Name, Public, Share, Tag};

form! {
    /// A judge that is shown some images behind their verdicts, to learn how it judges.
    ShadowForm {
        /// Its name in stored judgements.
        id: Name<Tag>,
        /// Who is asked: one of judges in vlmgate.yaml.
        judge: Name<Public>,
        /// Share of judged images; default 3%.
        sample: Share = Share(0.03),
        /// Most that it may cost in one day (UTC), such as 5 USD.
        per_day: Money,
    }
    later {
        "prompt" => "shadow judging with a prompt of its own",
        "model" => "shadow judging with a model of its own",
    }
}

form! {
    /// The route's first judge is shown what others judged in its place, once it is back.
    BackfillForm {
        /// Least share of those images; of fewer than two hundred all are shown; default 10%.
        share: Share = Share(0.10),
        /// Most that it may cost in one day (UTC), such as 5 USD.
        per_day: Money,
    }
}

form! {
    /// A share of the judges that lost a hedge are asked about the image behind the verdict: the image was chosen by who was faster, so what its winner said of it tells little alone.
    LosersForm {
        /// Share of the verdicts won by a hedge; default 5%.
        share: Share = Share(0.05),
        /// Most that it may cost in one day (UTC), such as 5 USD.
        per_day: Money,
    }
}
