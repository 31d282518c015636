"""Whether a request was sent by a person. Nothing is refused or dropped for it: it is two columns of the row.

The verdict is what the sender says of itself, so it is cheap and spares every browser; a bot that pretends to be a
browser is not found here. The names are those that their operators publish:

- search engines and other crawlers: developers.google.com/search/docs/crawling-indexing (common crawlers, special-case
  crawlers, user-triggered fetchers); bing.com/webmasters/help (which crawlers does Bing use);
  yandex.com/support/webmaster (check Yandex robots); support.apple.com/119829 (Applebot)
- AI: platform.openai.com/docs/bots; support.claude.com (ClaudeBot, Claude-User, Claude-SearchBot);
  docs.perplexity.ai/guides/bots; developer.amazon.com/amazonbot; commoncrawl.org/ccbot;
  developers.facebook.com/docs/sharing/webmasters/web-crawlers (meta-external…)
- link previews: the last page above; api.slack.com/robots; the others name themselves in the request
- monitoring: the help pages of UptimeRobot, Pingdom, GTmetrix, Lighthouse, Route 53, Google Cloud, Kubernetes
- prefetch and prerender: developer.mozilla.org, Sec-Purpose; X-Moz and X-Purpose are what older browsers sent

Any other word that ends in "bot", "crawler", "spider" or "scraper" is a declared crawler too, as most call themselves;
Cubot is a make of phones. The web views of apps (Instagram, Facebook, LINE, Electron, …) are people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

NO_USER_AGENT = "no_user_agent"
PREFETCH = "prefetch"
PRERENDER = "prerender"
DECLARED_CRAWLER = "declared_crawler"

NAMES: dict[str, str] = {
    "link_preview": """
        facebookexternalhit, facebookcatalog, facebot, twitterbot, linkedinbot, slackbot, slack-imgproxy, whatsapp/,
        telegrambot, discordbot, skypeuripreview, microsoftpreview, bingpreview, redditbot, vkshare, embedly, iframely,
        kakaotalk-scrap, line-poker, snap url preview, bluesky cardyb, mastodon/, bitlybot, googleimageproxy,
        yahoomailproxy, google-pagerenderer, flipboardproxy, tumblr/
        """,
    "monitoring": """
        uptimerobot, pingdom, gtmetrix, lighthouse, chrome-lighthouse, google page speed, statuscake, site24x7,
        datadogsynthetics, newrelicpinger, better uptime, betterstack, hetrixtools, freshping, nodeping, uptime-kuma,
        ptst/, catchpoint, ruxitsynthetic, checkly, check_http, googlestackdrivermonitoring, amazon-route53-health,
        elb-healthchecker, kube-probe, updown.io, sentryuptimebot, montastic, debugbear, speedcurve, blackbox exporter,
        cloudflare-healthchecks, cloudflare-alwaysonline, zabbix
        """,
    "ai_crawler": """
        gptbot, chatgpt-user, oai-searchbot, oai-adsbot, claudebot, claude-user, claude-searchbot, claude-web,
        anthropic-ai, perplexitybot, perplexity-user, ccbot, bytespider, amazonbot, meta-externalagent,
        meta-externalfetcher, meta-webindexer, cohere-ai, cohere-training-data-crawler, diffbot, youbot, mistralai-user,
        duckassistbot, google-cloudvertexbot, google-notebooklm, gemini-deep-research, imagesiftbot, omgili,
        webzio-extended, timpibot, ai2bot, pangubot, img2dataset, icc-crawler, friendlycrawler, iaskspider
        """,
    "headless_browser": """
        headlesschrome, headlessedg, headlessfirefox, headlessshell, phantomjs, slimerjs, puppeteer, playwright,
        selenium, htmlunit, jsdom/, happydom/, rendertron, browserless, prerender, cypress/
        """,
    "http_library": """
        curl/, libcurl, wget/, python-requests, python-urllib, python-httpx, python/, aiohttp, httpx/, go-http-client,
        okhttp, java/, apache-httpclient, java-http-client, axios/, node-fetch, node$, undici, superagent, got/, got (,
        postmanruntime, insomnia/, httpie/, libwww-perl, lwp::, lwp-trivial, guzzlehttp, symfony httpclient, php/,
        ruby$, faraday v, rest-client, typhoeus, http.rb/, restsharp, reqwest/, dart/, winhttp, windowspowershell,
        powershell/, scrapy, colly, mechanize, aria2/, deno/, bun/, pycurl/, hackney/, ureq/,
        jakarta commons-httpclient, wordpress/
        """,
    DECLARED_CRAWLER: """
        mediapartners-google, apis-google, feedfetcher-google, google-inspectiontool, googleother, google-read-aloud,
        google-safety, google-adwords-instant, duplexweb-google, google favicon, google-site-verification, slurp,
        yandeximages, yandexmetrika, yandexmedia, yandexvideo, yandexblogs, yandexdirect, yandexfavicons,
        yandexpagechecker, ia_archiver, heritrix, nutch, ahrefs, semrush, screaming frog, sitebulb,
        netcraftsurveyagent, censysinspect, expanse indexes, pinterest/0., w3c_validator, w3c-checklink, validator.nu,
        qwantify, yeti/, daumoa, sogou web, nmap scripting, nikto, sqlmap, nuclei -, masscan, zgrab, httrack,
        barkrowler, megaindex, feedly, feedburner, newsblur, inoreader, contentking, proximic, grapeshot, admantx
        """,
}
"""How the senders of each kind call themselves, in lower case: the beginning of a word; with ``$`` the whole text.
Where browsers have a word that begins in the same way, the name goes on to the slash before the version."""

REASONS = frozenset(NAMES) | {NO_USER_AGENT, PREFETCH, PRERENDER}
"""What is said of a bot: the values of the column ``bot_reason`` besides ""."""

PURPOSE_HEADERS = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")

MOST_READ = 256
"""Characters of a user agent that are looked at: crawlers' are below 220, and a hostile one may be 64 KiB."""


_REASON_OF = {name.strip().removesuffix("$"): reason for reason, names in NAMES.items() for name in names.split(",")}


def _names_pattern() -> re.Pattern[str]:
    """Any name, after what is no letter or digit. Grouped by the first letter, most words of a browser fail at once."""
    rest: dict[str, list[str]] = {}
    for name in (n.strip() for names in NAMES.values() for n in names.split(",")):
        rest.setdefault(name[0], []).append(re.escape(name[1:]).replace(r"\$", r"\Z"))
    return re.compile("[^a-z0-9](" + "|".join(f"{c}(?:{'|'.join(r)})" for c, r in sorted(rest.items())) + ")")


# Both read lower case: a pattern that ignores case cannot skip to where it may begin, and takes three times as long.
_find_name = _names_pattern().search
_find_crawler = re.compile(r"(?:bot|crawler|spider|scraper)(?<!cubot)(?![a-z0-9])").search


def by_name(user_agent: str) -> str:
    """ "" for a person's browser, else one of REASONS. Some microseconds: whoever asks often remembers the answer."""
    text = f" {user_agent[:MOST_READ].lower()}"
    name = _find_name(text)
    if name:
        reason = _REASON_OF[name[1]]
    elif _find_crawler(text):
        reason = DECLARED_CRAWLER
    else:
        reason = "" if user_agent and not user_agent.isspace() else NO_USER_AGENT
    return reason


def by_purpose(purposes: Iterable[bytes]) -> str:
    """Whether a browser says, in the PURPOSE_HEADERS, that nobody looks at the page yet: PREFETCH, PRERENDER or "".

    ``prefetch``, ``prefetch;prerender``, …; Safari draws the thumbnails of its start page with ``preview``.
    """
    text = b";".join(p[:MOST_READ] for p in purposes).lower()
    if b"prerender" in text or b"preview" in text:
        return PRERENDER
    return PREFETCH if b"prefetch" in text else ""
