"""Who is a person and who is a bot, by what real ones send."""

from __future__ import annotations

import re

import pytest

from relo_ingest.events import COLUMNS
from relo_ingest.ingest import bots, visitor
from relo_ingest.ingest.visitor import Visitors

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
ANDROID = "Mozilla/5.0 (Linux; Android 13; SM-G991B Build/TP1A.220624.014; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0"
WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/142.0.0.0"

PEOPLE = f"""
{WINDOWS} Safari/537.36
{WINDOWS} Safari/537.36 Edg/142.0.0.0
{WINDOWS} Safari/537.36 OPR/121.0.0.0
{WINDOWS} Safari/537.36 Vivaldi/7.6
{WINDOWS} YaBrowser/25.8.0 Yowser/2.5 Safari/537.36
{WINDOWS} Safari/537.36 coc_coc_browser/135.0
{WINDOWS} Safari/537.36 Whale/4.33
Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0
Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0
Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/142.0.0.0 Safari/537.36
Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15
Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15 Ddg/17.4
Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko
Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; SLCC2; .NET CLR 2.0.50727)
Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; id) Presto/2.12.423 Version/12.16
{IPHONE} Version/17.5 Mobile/15E148 Safari/604.1
{IPHONE} CriOS/142.0.7444.46 Mobile/15E148 Safari/604.1
{IPHONE} FxiOS/144.0 Mobile/15E148 Safari/605.1.15
{IPHONE} EdgiOS/141.0.3537.99 Version/17.0 Mobile/15E148 Safari/604.1
{IPHONE} GSA/388.0.811331708 Mobile/15E148 Safari/604.1
{IPHONE} Mobile/15E148 Instagram 358.0.0.27.89 (iPhone14,5; iOS 17_5; es_MX; es; scale=3.00; 1170x2532; 661390110)
{IPHONE} Mobile/15E148 [FBAN/FBIOS;FBAV/480.0.0.34.108;FBBV/642437417;FBDV/iPhone14,5;FBMD/iPhone;FBSN/iOS;FBSV/17.5;FBSS/3]
{IPHONE} Mobile/15E148 Safari Line/14.12.0
{IPHONE} Mobile/21F79 [Pinterest/iOS]
{IPHONE} Mobile/15E148 MicroMessenger/8.0.49(0x1800312c) NetType/WIFI Language/zh_CN
{IPHONE} Mobile/15E148 musical_ly_35.3.0 JsSdk/2.0 NetType/WIFI Channel/App Store ByteLocale/es Region/MX BytedanceWebview/d8a21c6
{IPHONE} Mobile/15E148 Snapchat/13.5.0.42 (like Safari/8618.2.12.10.9, panda)
{IPHONE} Mobile/15E148 Twitter for iPhone/10.50
{IPHONE} Mobile/21F79 [LinkedInApp]/9.29.9164
{IPHONE} Version/17.0 Mobile/15E148 DuckDuckGo/7 Safari/605.1.15
{IPHONE} Mobile/15E148 NAVER(inapp; search; 2000; 12.8.52; 14PRO)
{IPHONE} Mobile/15E148 KAKAOTALK/11.1.0 (INAPP)
Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/142.0.0.0 Mobile Safari/537.36
Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S918B) {WEBKIT} SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36
Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20 PRO) {WEBKIT} Chrome/120.0.0.0 Mobile Safari/537.36
Mozilla/5.0 (Linux; Android 7.0; CUBOT_MANITO Build/NRD90M) {WEBKIT} Chrome/87.0.4280.101 Mobile Safari/537.36
Mozilla/5.0 (Linux; Android 9; Cubot) {WEBKIT} Chrome/87.0.4280.101 Mobile Safari/537.36
Mozilla/5.0 (Linux; Android 13; M2101K6G; HMSCore 6.13) {WEBKIT} Chrome/99.0.4844.88 HuaweiBrowser/14.0.5 Mobile Safari/537.36
Mozilla/5.0 (Linux; U; Android 12; es-MX; Redmi Note 11) {WEBKIT} Chrome/112.0 Mobile Safari/537.36 XiaoMi/MiuiBrowser/14.9
{ANDROID} Chrome/125.0.6422.165 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/468.0.0.58.76;]
{ANDROID} Chrome/125.0.6422.165 Mobile Safari/537.36 Instagram 335.0.0.39.93 Android (33/13; 480dpi; 1080x2181; samsung)
{ANDROID} Chrome/125.0.6422.165 Mobile Safari/537.36 trill_340203 BytedanceWebview/d8a21c6
{ANDROID} Chrome/125.0.6422.165 Mobile Safari/537.36 Viber/23.0
{ANDROID} Chrome/125.0.6422.165 Mobile Safari/537.36 [Pinterest/Android]
{ANDROID} Chrome/125.0.6422.165 Mobile Safari/537.36 YandexSearch/24.55
{ANDROID} Chrome/125.0.6422.165 Mobile Safari/537.36 Flipboard/4.2.100
Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Slack/4.41.105 Chrome/130.0.6723.59 Electron/33.0.2 Safari/537.36
Mozilla/5.0 (Windows NT 10.0; WOW64) {WEBKIT} discord/1.0.9170 Chrome/128.0.6613.36 Electron/32.0.0 Safari/537.36
Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko) JavaFX/17 Safari/605.1.15
Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) 76.0.3809.146/6.0 TV Safari/537.36
Mozilla/5.0 (PlayStation; PlayStation 5/9.60) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Safari/605.1.15
Mozilla/5.0 (Linux; Android 12; Lenovo TB-X606F; robotics edition) {WEBKIT} Chrome/120.0.0.0 Safari/537.36
Mozilla/5.0 (Linux; Android 13; Spiderman Tab) {WEBKIT} Chrome/120.0.0.0 Safari/537.36
Browser/1
"""

BOTS = f"""
declared_crawler  Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)
declared_crawler  Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) {WEBKIT} Chrome/141.0.7390.122 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)
declared_crawler  Googlebot-Image/1.0
declared_crawler  AdsBot-Google (+http://www.google.com/adsbot.html)
declared_crawler  Mediapartners-Google
declared_crawler  Mozilla/5.0 (compatible; Google-InspectionTool/1.0;)
declared_crawler  GoogleOther
declared_crawler  FeedFetcher-Google; (+http://www.google.com/feedfetcher.html)
declared_crawler  Mozilla/5.0 {WEBKIT[:-1]}; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/136.0.0.0 Safari/537.36
declared_crawler  Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)
declared_crawler  Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)
declared_crawler  Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)
declared_crawler  Mozilla/5.0 (compatible; YandexImages/3.0; +http://yandex.com/bots)
declared_crawler  Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.1.1 Safari/605.1.15 (Applebot/0.1; +http://www.apple.com/go/applebot)
declared_crawler  DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)
declared_crawler  Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)
declared_crawler  Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)
declared_crawler  Mozilla/5.0 (compatible; MJ12bot/v1.4.8; http://mj12bot.com/)
declared_crawler  Mozilla/5.0 (compatible; Pinterestbot/1.0; +http://www.pinterest.com/bot.html)
declared_crawler  Pinterest/0.2 (+http://www.pinterest.com/)
declared_crawler  Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details/archive.org_bot)
declared_crawler  Sogou web spider/4.0(+http://www.sogou.com/docs/help/webmasters.htm#07)
declared_crawler  Screaming Frog SEO Spider/19.2
declared_crawler  Mozilla/5.0 (compatible; SomeNewCrawler/1.0; +https://example.com)
headless_browser  Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/141.0.0.0 Safari/537.36
headless_browser  Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1
headless_browser  Mozilla/5.0 (linux) AppleWebKit/537.36 (KHTML, like Gecko) jsdom/22.1.0
headless_browser  {WINDOWS} Safari/537.36 Prerender (+https://github.com/prerender/prerender)
http_library      curl/8.5.0
http_library      Wget/1.21.4
http_library      python-requests/2.32.3
http_library      Python-urllib/3.11
http_library      python-httpx/0.28.1
http_library      Python/3.11 aiohttp/3.10.5
http_library      Go-http-client/2.0
http_library      okhttp/4.12.0
http_library      Java/17.0.8
http_library      Apache-HttpClient/4.5.14 (Java/17.0.8)
http_library      axios/1.7.7
http_library      node
http_library      undici
http_library      got (https://github.com/sindresorhus/got)
http_library      PostmanRuntime/7.43.0
http_library      GuzzleHttp/7
http_library      Ruby
http_library      libwww-perl/6.67
http_library      Scrapy/2.11.2 (+https://scrapy.org)
http_library      Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.5247
link_preview      facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)
link_preview      facebookexternalhit/1.1;line-poker/1.0
link_preview      Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0
link_preview      WhatsApp/2.23.20.0
link_preview      WhatsApp/2.2587.9 W
link_preview      Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)
link_preview      Slackbot 1.0 (+https://api.slack.com/robots)
link_preview      Twitterbot/1.0
link_preview      TelegramBot (like TwitterBot)
link_preview      Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)
link_preview      LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)
link_preview      Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com
link_preview      Mozilla/5.0 (compatible; Bluesky Cardyb/1.1; +mailto:support@bsky.app)
monitoring        Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)
monitoring        Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)
monitoring        Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/117.0.0.0 Safari/537.36 GTmetrix
monitoring        Mozilla/5.0 (Linux; Android 11; moto g power (2022)) {WEBKIT} Chrome/136.0.0.0 Mobile Safari/537.36 Chrome-Lighthouse
monitoring        GoogleStackdriverMonitoring-UptimeChecks(https://cloud.google.com/monitoring)
monitoring        ELB-HealthChecker/2.0
monitoring        kube-probe/1.29
monitoring        Better Uptime Bot Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)
ai_crawler        Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)
ai_crawler        Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot
ai_crawler        Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; OAI-SearchBot/1.0; +https://openai.com/searchbot)
ai_crawler        Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)
ai_crawler        Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Claude-User/1.0; +Claude-User@anthropic.com)
ai_crawler        Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)
ai_crawler        Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Perplexity-User/1.0; +https://perplexity.ai/perplexity-user)
ai_crawler        CCBot/2.0 (https://commoncrawl.org/faq/)
ai_crawler        Mozilla/5.0 (Linux; Android 5.0) {WEBKIT} Mobile Safari/537.36 (compatible; Bytespider; spider-feedback@bytedance.com)
ai_crawler        meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)
ai_crawler        Mozilla/5.0 (compatible; Amazonbot/0.1; +https://developer.amazon.com/support/amazonbot)
"""

TABLE = [("", line) for line in PEOPLE.strip().splitlines()] + [
    (reason, user_agent) for reason, user_agent in (line.split(maxsplit=1) for line in BOTS.strip().splitlines())
]


@pytest.mark.parametrize(("reason", "user_agent"), TABLE, ids=lambda text: text[-40:] or "person")
def test_user_agent_has_its_verdict(reason: str, user_agent: str) -> None:
    assert bots.by_name(user_agent) == reason
    assert bots.by_name(user_agent.upper()) == bots.by_name(user_agent.lower()) == reason


def test_table_has_every_reason_of_a_user_agent() -> None:
    assert {reason for reason, _ in TABLE} == set(bots.NAMES) | {""}
    assert len(TABLE) > 60


@pytest.mark.parametrize("user_agent", ["", " ", " \t"])
def test_without_a_user_agent_it_is_no_browser(user_agent: str) -> None:
    assert bots.by_name(user_agent) == "no_user_agent"


@pytest.mark.parametrize(
    ("purpose", "reason"),
    [
        ("prefetch", "prefetch"),
        ("Prefetch", "prefetch"),
        ("prefetch;anonymous-client-ip;", "prefetch"),
        ("prefetch;prerender", "prerender"),
        ("preview", "prerender"),
        ("something else", ""),
        ("", ""),
    ],
)
def test_page_that_nobody_looks_at_yet_is_no_view(purpose: str, reason: str) -> None:
    assert bots.by_purpose([b"", purpose.encode()]) == reason


def test_long_purposes_are_read_in_part() -> None:
    assert bots.by_purpose([b"\xff" * 100_000, b"prefetch"]) == "prefetch"
    assert bots.by_purpose([b"\xff" * 100_000 + b"prefetch"]) == ""


def test_reasons_are_a_closed_set_that_fits_its_column() -> None:
    column = next(c for c in COLUMNS if c.name == "bot_reason")
    assert all(re.fullmatch("[a-z_]+", r) and len(r) <= column.max_bytes for r in bots.REASONS)
    assert len(bots.REASONS) == 9


def test_no_name_is_said_twice_or_hidden_by_a_shorter_one() -> None:
    names = [(n.strip(), reason) for reason, text in bots.NAMES.items() for n in text.split(",")]
    assert len({n for n, _ in names}) == len(names)
    for name, reason in names:
        assert name == name.lower()
        assert re.match("[a-z0-9]", name)
        assert bots.by_name(name.removesuffix("$")) == reason


def told(user_agent: bytes) -> tuple[bytes, ...]:
    return user_agent, *(b"" for _ in visitor.TELLING_HEADERS[1:])


def test_sender_that_changes_its_user_agent_does_not_fill_the_memory() -> None:
    visitors = Visitors(forwarded_hops=0)
    for n in range(visitor.MEMO_ENTRIES * 2 + 10):
        visitors.visitor(told(b"%d " % n + b"x" * 100))
    assert len(visitors._visitors) <= visitor.MEMO_ENTRIES
    for _ in range(2):
        found = visitors.visitor(told(b"Googlebot/2.1"))
        assert (found.agent, found.is_bot, found.bot_reason) == ("Googlebot/2.1", True, "declared_crawler")


def test_long_headers_are_read_and_not_remembered() -> None:
    visitors = Visitors(forwarded_hops=1)
    assert visitors.visitor(told(b"x" * 64_000)).agent == "x" * 1024
    assert visitors.network({}, b"x" * 64_000) == ""
    assert not visitors._visitors
    assert not visitors._networks


def test_verdict_depends_on_no_more_than_the_beginning() -> None:
    assert bots.by_name("x" * bots.MOST_READ + " Googlebot/2.1") == ""
    assert bots.by_name("Googlebot/2.1 " + "x" * 70_000) == "declared_crawler"
