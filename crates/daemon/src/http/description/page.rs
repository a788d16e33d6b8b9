//! The description as a page for people: one file, no scripts, nothing from elsewhere.

use std::fmt::Write;

use serde_json::Value;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
h2{margin-top:2.5rem;border-bottom:1px solid #ccc}summary{cursor:pointer;padding:.25rem 0}\
code,pre{font:14px/1.4 ui-monospace,monospace}pre{background:#f4f4f4;padding:.75rem;overflow:auto}\
.m{display:inline-block;width:4.5rem;font-weight:bold}td{padding:.1rem .75rem .1rem 0;vertical-align:top}\
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}pre{background:#222}a{color:#8bf}}";

pub(super) fn page(description: &Value) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>fumehood API</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style>\
         <h1>fumehood API</h1>"
    );
    for part in text(&description["info"]["description"]).split("\n\n") {
        put(&mut html, format_args!("<p>{}</p>", escaped(part)));
    }
    html.push_str("<p>For programs: <a href=\"openapi.json\">openapi.json</a></p><h2>Routes</h2>");
    for (path, methods) in description["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            route(&mut html, path, method, operation);
        }
    }
    html.push_str("<h2>Types</h2>");
    let schemas = description["components"]["schemas"].as_object();
    for (name, schema) in schemas.into_iter().flatten() {
        let shown = escaped(&serde_json::to_string_pretty(schema).unwrap_or_default());
        let about = escaped(text(&schema["description"]));
        put(
            &mut html,
            format_args!(
                "<details id=\"{name}\"><summary><code>{name}</code> {about}</summary>\
                 <pre>{shown}</pre></details>"
            ),
        );
    }
    html.push_str("</html>");
    html
}

fn route(html: &mut String, path: &str, method: &str, operation: &Value) {
    let summary = escaped(text(&operation["summary"]));
    let method = method.to_uppercase();
    put(
        html,
        format_args!(
            "<details><summary><span class=\"m\">{method}</span><code>{path}</code><br>{summary}\
             </summary><table>"
        ),
    );
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        put(
            html,
            format_args!(
                "<tr><td><code>{}</code><td>{}<td>{}",
                escaped(text(&parameter["name"])),
                escaped(text(&parameter["in"])),
                escaped(text(&parameter["description"])),
            ),
        );
    }
    html.push_str("</table>");
    body(html, "Body", &operation["requestBody"]["content"]);
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        body(html, status, &response["content"]);
    }
    html.push_str("</details>");
}

fn body(html: &mut String, what: &str, content: &Value) {
    for (kind, media) in content.as_object().into_iter().flatten() {
        let name = text(&media["schema"]["$ref"]).rsplit('/').next().unwrap_or_default();
        put(
            html,
            format_args!("<p>{what}: {kind} <a href=\"#{name}\"><code>{name}</code></a></p>"),
        );
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn put(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("a string takes all that is written");
}
