//! `cargo xtask gallery`: a page with one picture per system.

use crate::{
    args::Args,
    descriptor::{self, System},
    fault::{Fault, Result},
    workspace::{Workspace, files_below},
};

/// The page.
pub const GALLERY: &str = "GALLERY.md";

/// Where the pictures lie.
const PICTURES: &str = "docs/gallery";

/// Writes `GALLERY.md`; with `--check` compares it.
///
/// # Errors
/// [`Fault::Failed`] if the check fails or the file cannot be written.
pub fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let text = page(workspace, &descriptor::systems(workspace)?);
    if workspace.read_or_empty(GALLERY) == text {
        say!("{GALLERY}: up to date");
    } else if args.flag("--check") {
        return Err(Fault::failed(format!(
            "{GALLERY}: stale: run `cargo xtask gallery`"
        )));
    } else {
        workspace.write(GALLERY, &text)?;
        say!("wrote {GALLERY}");
    }
    Ok(0)
}

/// What is wrong with the page, if anything: without pictures there need not be one, and one that
/// is there shows what there is.
///
/// # Errors
/// A folder of pictures that cannot be read.
pub fn fault(workspace: &Workspace, systems: &[System]) -> Result<Option<&'static str>> {
    let pictures = files_below(&workspace.path(PICTURES))?;
    Ok(if workspace.exists(GALLERY) {
        (workspace.read_or_empty(GALLERY) != page(workspace, systems)).then_some("stale")
    } else {
        (!pictures.is_empty()).then_some("missing")
    })
}

fn page(workspace: &Workspace, systems: &[System]) -> String {
    let mut text = String::from(
        "# Gallery\n\nEvery picture comes from `cargo xtask reproduce <system>` on procedural or \
         public data.\n",
    );
    for system in systems {
        text += &format!(
            "\n## {}\n\n[{}]({}): {}.\n",
            system.slug, system.title, system.paper_url, system.summary
        );
        // Images, or a plot.
        let pictures = ["png", "svg"].map(|kind| format!("{PICTURES}/{}.{kind}", system.slug));
        if let Some(picture) = pictures.iter().find(|picture| workspace.exists(picture)) {
            text += &format!("\n![{}]({picture})\n", system.summary);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{read, tests::SOURCE};

    #[test]
    fn a_picture_is_shown_where_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path());
        let systems = [read("a.rs", SOURCE).unwrap().unwrap()];
        let without = page(&workspace, &systems);
        assert!(without.contains("\n## line-fit\n"));
        assert!(!without.contains("!["));
        let fault = || fault(&workspace, &systems).unwrap();
        assert_eq!(fault(), None);
        workspace.write("docs/gallery/line-fit.png", "").unwrap();
        assert_eq!(fault(), Some("missing"));
        workspace.write(GALLERY, &without).unwrap();
        assert_eq!(fault(), Some("stale"));
        let with = page(&workspace, &systems);
        workspace.write(GALLERY, &with).unwrap();
        assert_eq!(fault(), None);
        assert!(with.ends_with("\n![a line](docs/gallery/line-fit.png)\n"));
        std::fs::rename(
            workspace.path("docs/gallery/line-fit.png"),
            workspace.path("docs/gallery/line-fit.svg"),
        )
        .unwrap();
        assert!(page(&workspace, &systems).ends_with("(docs/gallery/line-fit.svg)\n"));
    }
}
