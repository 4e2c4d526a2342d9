//! The pages, in a real browser.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::browser::{Browser, Page};
use tests::cluster::{Node, chain};

/// The texts of all messages in the log of a page, in the order shown.
const SHOWN: &str = "[...document.querySelectorAll('[data-testid=\"message\"]')]\
    .map((row) => (row.querySelector('[data-testid=\"body\"]') ?? row).textContent.trim())";

/// Says who one is, and opens a conversation.
async fn sit_down(browser: &mut Browser, node: &Node, name: &str, with: &str) -> Result<Page> {
    let page = browser.open(&format!("http://{}/", node.listen)).await?;
    browser.type_into(&page, "name-input", name).await?;
    browser
        .type_into(&page, "new-conversation-input", with)
        .await?;
    browser
        .wait(
            &page,
            "document.querySelector('[data-testid=\"composer\"]').offsetParent",
        )
        .await?;
    Ok(page)
}

/// Waits until a page shows these messages, each once, and no other.
async fn shows(browser: &mut Browser, page: &Page, texts: &[&str]) -> Result<()> {
    let wanted = json!(texts);
    let count = texts.len();
    let found = format!(
        "(() => {{ const shown = {SHOWN}; const wanted = {wanted}; return shown.length === {count} && \
         wanted.every((text, i) => shown[i].includes(text)); }})()"
    );
    if let Err(error) = browser.wait(page, &found).await {
        let shown = browser.eval(page, SHOWN).await?;
        return Err(error.context(format!("shown: {shown}")));
    }
    Ok(())
}

#[tokio::test]
async fn two_people_chat_in_the_browser_though_the_node_of_one_is_killed() -> Result<()> {
    let (_folder, [a, b]) = chain().await?;
    let mut browser = Browser::start().await?;
    let alice = sit_down(&mut browser, &a, "alice", "bob").await?;
    let bob = sit_down(&mut browser, &b, "bob", "alice").await?;

    browser
        .type_into(&alice, "composer", "good morning")
        .await?;
    shows(&mut browser, &bob, &["good morning"]).await?;
    browser.type_into(&bob, "composer", "hello alice").await?;
    shows(&mut browser, &alice, &["good morning", "hello alice"]).await?;

    let dead = b.kill().await?;
    browser
        .type_into(&alice, "composer", "are you there?")
        .await?;
    shows(
        &mut browser,
        &alice,
        &["good morning", "hello alice", "are you there?"],
    )
    .await?;
    browser.type_into(&bob, "composer", "one moment").await?;
    let b = dead.restart().await?;
    // Bob's page comes back by itself, with what it missed, and sends what was waiting; once each.
    let together = "[\"are you there?\", \"one moment\"]";
    let all = format!(
        "{together}.every((text) => {SHOWN}.filter((shown) => shown.includes(text)).length === 1) && {SHOWN}.length === 4"
    );
    for page in [&bob, &alice] {
        browser.wait(page, &all).await?;
    }
    let order = |shown: Value| {
        shown.as_array().map(|rows| {
            rows.iter()
                .map(|row| row.to_string().contains("are you"))
                .collect::<Vec<_>>()
        })
    };
    let (left, right) = (
        browser.eval(&alice, SHOWN).await?,
        browser.eval(&bob, SHOWN).await?,
    );
    ensure!(
        order(left.clone()) == order(right.clone()),
        "one order: {left} {right}"
    );
    b.ready().await?;
    Ok(())
}

#[tokio::test]
async fn the_mesh_page_shows_a_node_that_dies() -> Result<()> {
    let (_folder, [a, b]) = chain().await?;
    let mut browser = Browser::start().await?;
    let page = browser.open(&format!("http://{}/mesh", a.listen)).await?;
    let text = "document.querySelector('[data-testid=\"mesh-members\"]').innerText.toLowerCase()";
    browser
        .wait(&page, &format!("{text}.split('alive').length === 3"))
        .await?;
    b.kill().await?;
    browser
        .wait(&page, &format!("{text}.includes('down')"))
        .await?;
    Ok(())
}
