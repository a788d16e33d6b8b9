use super::*;

fn preset(name: &str) -> Policy {
    listed(Preset::find(name).unwrap().domains)
}

#[track_caller]
fn check(policy: &Policy, table: &[(&str, &str, bool)]) {
    for (name, request, allowed) in table {
        let answer = ruled(policy, name, request, &[]);
        assert_eq!(answer.starts_with('+'), *allowed, "{name} {request}: {answer}");
    }
}

#[test]
fn every_preset_is_read_and_is_closed_at_its_end() {
    for name in Preset::names() {
        let preset = Preset::find(name).unwrap();
        assert!(preset.about.ends_with('.'), "{name}");
        let mut patterns = std::collections::BTreeSet::new();
        for domain in &preset.domains {
            assert_eq!(domain.preset.as_deref(), Some(name));
            assert_eq!(domain.rules.last(), Some(&deny(every())), "{name} {domain}");
            assert!(patterns.insert(domain.to_string()), "{domain} twice");
            for rule in &domain.rules {
                let upper = |method: &String| *method == method.to_ascii_uppercase();
                assert!(rule.when.methods.iter().all(upper), "{domain}");
            }
        }
    }
    assert_eq!(Preset::find("nothing"), None);
}

#[test]
fn packages_are_installed_and_not_published() {
    let policy = preset("registries-read");
    check(
        &policy,
        &[
            ("registry.npmjs.org", "GET /left-pad", true),
            ("registry.npmjs.org", "GET /@babel%2fcore", true),
            ("registry.npmjs.org", "GET /@babel/core/-/core-7.0.0.tgz", true),
            ("registry.npmjs.org", "POST /-/npm/v1/security/advisories/bulk", true),
            ("registry.npmjs.org", "POST /-/npm/v1/security/audits/quick", true),
            ("registry.npmjs.org", "PUT /left-pad", false),
            ("registry.npmjs.org", "PUT /@me%2fpkg", false),
            ("registry.npmjs.org", "DELETE /left-pad/-rev/1", false),
            ("registry.npmjs.org", "PUT /-/user/org.couchdb.user:me", false),
            ("registry.npmjs.org", "POST /-/v1/login", false),
            ("registry.npmjs.org", "POST /-/npm/v1/tokens", false),
            ("registry.npmjs.org", "POST /-/npm/v1/security/audits/../../tokens", false),
            ("pypi.org", "GET /simple/django/", true),
            ("pypi.org", "POST /legacy/", false),
            ("upload.pypi.org", "POST /legacy/", false),
            ("files.pythonhosted.org", "GET /packages/a/b.whl", true),
            ("index.crates.io", "GET /se/rd/serde", true),
            ("crates.io", "PUT /api/v1/crates/new", false),
            ("deb.debian.org", "GET /debian/dists/bookworm/InRelease", true),
            ("ftp.de.debian.org", "GET /debian/", true),
            ("ftp.evil.example.debian.org", "GET /", false),
            ("de.archive.ubuntu.com", "HEAD /ubuntu/", true),
            ("proxy.golang.org", "GET /golang.org/x/net/@v/list", true),
            ("storage.googleapis.com", "GET /proxy-golang-org-prod/abc", true),
            ("storage.googleapis.com", "GET /my-bucket/stolen", false),
            ("storage.googleapis.com", "PUT /proxy-golang-org-prod/abc", false),
            ("rubygems.org", "POST /api/v1/gems", false),
            ("rubygems.org", "GET /gems/rails-8.0.0.gem", true),
            ("repo.maven.apache.org", "GET /maven2/junit/junit/maven-metadata.xml", true),
        ],
    );
    let told = ruled(&policy, "registry.npmjs.org", "PUT /left-pad", &[]);
    assert_eq!(told, "-registries-read/registry.npmjs.org[2]: a rule denies it");
}

#[test]
fn github_is_cloned_and_not_pushed_to() {
    let policy = preset("github-read");
    check(
        &policy,
        &[
            ("github.com", "GET /o/r/info/refs?service=git-upload-pack", true),
            ("github.com", "GET /o/r.git/info/refs?service=git-upload-pack", true),
            ("github.com", "POST /o/r.git/git-upload-pack", true),
            ("github.com", "POST /o/r/info/lfs/objects/batch", true),
            ("github.com", "GET /o/r/archive/refs/tags/v1.tar.gz", true),
            ("github.com", "GET /o/r/compare/main...feature%2Fx", true),
            ("github.com", "GET /o/r/info/refs?service=git-receive-pack", false),
            ("github.com", "GET /o/r/info/refs?a&service=git%2Dreceive-pack", false),
            ("github.com", "POST /o/r.git/git-receive-pack", false),
            ("github.com", "POST /o/r/issues", false),
            ("github.com", "POST /login/oauth/access_token", false),
            ("github.com", "POST /o/r/x/git-upload-pack", false),
            ("api.github.com", "GET /repos/o/r", true),
            ("api.github.com", "POST /gists", false),
            ("api.github.com", "POST /graphql", false),
            ("api.github.com", "PATCH /repos/o/r", false),
            ("api.github.com", "PUT /repos/o/r/contents/x", false),
            ("uploads.github.com", "POST /repos/o/r/releases/1/assets", false),
            ("gist.github.com", "GET /", false),
            ("codeload.github.com", "GET /o/r/tar.gz/main", true),
            ("raw.githubusercontent.com", "GET /o/r/main/README.md", true),
            ("evil.githubusercontent.com", "GET /", false),
        ],
    );
}

#[test]
fn models_are_asked_and_files_are_not_uploaded() {
    let google = "generativelanguage.googleapis.com";
    check(
        &preset("llm-apis"),
        &[
            ("api.anthropic.com", "POST /v1/messages?beta=true", true),
            ("api.anthropic.com", "POST /v1/messages/count_tokens", true),
            ("api.anthropic.com", "GET /v1/models", true),
            ("api.anthropic.com", "POST /v1/files", false),
            ("api.anthropic.com", "GET /v1/files/f/content", false),
            ("api.anthropic.com", "POST /v1/messages/batches", false),
            ("api.anthropic.com", "POST /v1/messages/../files", false),
            ("api.openai.com", "POST /v1/chat/completions", true),
            ("api.openai.com", "POST /v1/responses", true),
            ("api.openai.com", "GET /v1/models/gpt-5", true),
            ("api.openai.com", "POST /v1/files", false),
            ("api.openai.com", "POST /v1/uploads", false),
            ("api.openai.com", "POST /v1/fine_tuning/jobs", false),
            ("api.openai.com", "GET /v1/responses/resp_1", false),
            (google, "POST /v1beta/models/gemini-pro:generateContent", true),
            (google, "POST /v1beta/models/g:streamGenerateContent?alt=sse", true),
            (google, "GET /v1beta/models", true),
            (google, "POST /upload/v1beta/files", false),
            (google, "POST /v1beta/files", false),
            (google, "POST /v1beta/cachedContents", false),
            ("api.mistral.ai", "POST /v1/chat/completions", true),
            ("api.mistral.ai", "POST /v1/files", false),
            ("api.groq.com", "POST /openai/v1/chat/completions", true),
            ("openrouter.ai", "POST /api/v1/chat/completions", true),
            ("openrouter.ai", "POST /api/v1/keys", false),
            ("ai-gateway.vercel.sh", "POST /v1/ai/language-model", true),
        ],
    );
}
