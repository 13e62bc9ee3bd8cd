//! How pictures are counted, against the reference's table, and who counts as blind.

use vlmgate::config::files::PolicyFiles;
use vlmgate::domain::Tokens;
use vlmgate::provider::answer::Shape;
use vlmgate::provider::model::{Catalogue, Lineage, Traits};
use vlmgate::provider::sight::{Counting, blindness};
use vlmgate::provider::wire::Ask;

use crate::wire::{json, view};

/// The reference's column, and a model of ours that is counted that way.
const COLUMNS: [(&str, Lineage, &str); 14] = [
    ("openai/gpt-4o,gpt-4.1 (tiles 85+170)", Lineage::OpenAi, "gpt-4o"),
    ("openai/gpt-4o-mini (tiles 2833+5667)", Lineage::OpenAi, "gpt-4o-mini"),
    ("openai/gpt-5,gpt-5.1 (tiles 70+140)", Lineage::OpenAi, "gpt-5.1"),
    ("openai/o1,o3 (tiles 75+150)", Lineage::OpenAi, "o3"),
    ("openai/gpt-4.1-mini,gpt-5-mini (patches<=1536 x1.62)", Lineage::OpenAi, "gpt-4.1-mini"),
    ("openai/gpt-4.1-nano,gpt-5-nano (patches<=1536 x2.46)", Lineage::OpenAi, "gpt-5-nano"),
    ("openai/o4-mini (patches<=1536 x1.72)", Lineage::OpenAi, "o4-mini"),
    (
        "openai/gpt-5.4..5.6 detail=high (edge 2048, patches<=2500 x1.2)",
        Lineage::OpenAi,
        "gpt-5.4-mini",
    ),
    ("openai/gpt-6-astra detail=high (patches<=2500 x1.2)", Lineage::OpenAi, "gpt-6-astra"),
    (
        "anthropic/standard (<=4.6, haiku-4-5: edge 1568, 1568 tokens)",
        Lineage::Anthropic,
        "claude-haiku-4-5",
    ),
    ("anthropic/high-res (>=4.7: edge 2576, 4784 tokens)", Lineage::Anthropic, "claude-haiku-5-5"),
    ("gemini/2.x tiles", Lineage::Gemini, "gemini-2.5-flash"),
    (
        "mistral/large-3, medium-3.x, small-3.2, ministral-3 (28 px, edge 1540)",
        Lineage::Mistral,
        "mistral-small-latest",
    ),
    ("mistral/pixtral (16 px, edge 1024)", Lineage::Mistral, "pixtral-large"),
];

fn traits(lineage: Lineage, model: &str) -> Traits {
    let list = Catalogue::shipped().expect("the list");
    list.known(lineage, model).cloned().unwrap_or_else(|| panic!("{model} is not listed"))
}

#[test]
fn every_family_counts_pictures_as_the_reference_does() {
    let table = json("image_tokens.json");
    let mut compared = 0;
    for (column, lineage, model) in COLUMNS {
        let picture = traits(lineage, model).picture;
        for row in table["sizes"].as_array().expect("sizes") {
            let side = |key: &str| row[key].as_u64().and_then(|n| u32::try_from(n).ok());
            let (w, h) = (side("w").expect("a width"), side("h").expect("a height"));
            let golden = row[column].as_u64().or_else(|| row[column]["grid"].as_u64());
            assert_eq!(Some(picture.tokens(w, h)), golden, "{model} {w} x {h}");
            compared += 1;
        }
    }
    println!("{compared} counts compared");
    assert_eq!(compared, 14 * 14);
}

/// Whether a family looks at a square picture of this side as it came; `None` where its tiles or a
/// fixed count say nothing of that.
fn keeps(picture: Counting, side_px: u32) -> Option<bool> {
    let cells = |cell_px: u32| u64::from(side_px.div_ceil(cell_px)).pow(2);
    let holds = |most: Option<u32>, needed: u64| most.is_none_or(|most| needed <= u64::from(most));
    match picture {
        Counting::Patches { edge_px, budget, percent: _ } => {
            Some(holds(edge_px, side_px.into()) && holds(budget, cells(32)))
        }
        Counting::Cells { side_px: cell_px, edge_px, budget } => {
            Some(holds(Some(edge_px), side_px.into()) && holds(Some(budget), cells(cell_px)))
        }
        Counting::Tiles { .. }
        | Counting::CropTiles
        | Counting::Fixed { .. }
        | Counting::Unknown => None,
    }
}

#[test]
fn the_shipped_view_is_the_largest_that_every_family_of_cells_and_patches_sees_as_it_was_sent() {
    let shipped = PolicyFiles::shipped().load_one("product-photo.yaml", None).expect("a policy");
    let views = shipped.policy.input.views;
    let widest = views.iter().map(|view| view.max_side_px).max().expect("a view");
    let families = COLUMNS.map(|(_, lineage, model)| (model, traits(lineage, model).picture));
    let all_keep = |side_px: u32| -> Vec<&str> {
        let smaller =
            families.iter().filter(|(_, picture)| keeps(*picture, side_px) == Some(false));
        smaller.map(|(model, _)| *model).collect()
    };
    assert_eq!(all_keep(widest), [""; 0], "{widest} px are made smaller before they are looked at");
    assert_eq!(all_keep(widest + 1), ["pixtral-large"]);
    let told = families.iter().filter(|(_, picture)| keeps(*picture, widest).is_some());
    assert_eq!(told.count(), 9, "the others are counted in tiles");
    // the families of tiles look at 768 px of a square, and count as much for it
    let tiles = traits(Lineage::OpenAi, "gpt-4o").picture;
    assert_eq!(tiles.tokens(widest, widest), tiles.tokens(768, 768));
}

#[test]
fn a_count_below_the_floor_is_blindness_and_silence_is_not() {
    let mut seen = view("whole", "product.jpg");
    (seen.width_px, seen.height_px) = (1024, 1024);
    let views = [seen];
    let (system, user) = ("word ".repeat(200), "word ".repeat(80));
    let ask = Ask {
        system: &system,
        user: &user,
        views: &views,
        max_output_tokens: 100,
        shape: &Shape::Text,
    };
    let counted = |input, image| Some(Tokens { input, image, ..Tokens::default() });
    let cases = [
        (Lineage::OpenAi, "gpt-6-luna"),
        (Lineage::Anthropic, "claude-haiku-5-5"),
        (Lineage::Gemini, "gemini-3.5-flash-lite"),
        (Lineage::Mistral, "mistral-small-latest"),
    ];
    for (lineage, model) in cases {
        let traits = traits(lineage, model);
        let picture = traits.picture.tokens(1024, 1024);
        // the prompts alone are about 350 tokens
        let blind = |tokens| blindness(&traits, &ask, tokens).is_some();
        assert!(blind(counted(350, None)), "{model}: the prompts alone");
        assert!(!blind(counted(350 + picture, None)), "{model}: prompts and picture");
        assert!(blind(counted(9_999, Some(24))), "{model}: a count of its own, too small");
        assert!(!blind(counted(9_999, Some(picture * 9 / 10))), "{model}: near enough");
        assert!(!blind(None), "{model}: nothing counted");
    }
    let list = Catalogue::shipped().expect("the list");
    let stranger = list.unknown(Lineage::Compatible).expect("traits");
    assert!(blindness(stranger, &ask, counted(10, None)).is_none(), "no rule, no reproach");
}
