"""The whole story in a browser: a partner's link, a shop, a payment at Stripe, a line in the ledger."""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page

from relo_ingest._fast import ulid
from support.processes import Product
from support.site import Site
from support.stripe_events import checkout_completed, signed

LEDGER = "SELECT partner_ref, kind, amount, currency FROM ledger WHERE client_id = 1 AND conversion_key = {k:String}"
ATTRIBUTION = "SELECT method, click_id FROM attributions WHERE client_id = 1 AND conversion_key = {k:String}"


def pay(product: Product, **session: object) -> str:
    event = checkout_completed(amount_total=5000, **session)
    assert product.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    key: str = event["data"]["object"]["payment_intent"]
    return key


@pytest.mark.parametrize("way", ["partner link", "landing page"])
def test_click_visit_and_payment_become_a_commission(
    page: Page, site: Site, path: str, product: Product, way: str
) -> None:
    body = "<a id=buy href='https://buy.stripe.com/plan'>Buy</a>"
    site.put(path, "relo('init', { client_id: 1 }); relo('page');", body)
    site.put(path + "/buy", "relo('init', { client_id: 1 }); relo('page');", body)
    if way == "partner link":
        location = product.http.get("/r?ref=ana").headers["location"]  # leads to the demo shop; here it is ours
        page.goto(site.url(f"{path}?{urlsplit(location).query}"))
    else:
        with page.expect_response("**/click"):
            page.goto(site.url(path + "?ref=ana"))
    page.goto(site.url(path + "/buy"))
    page.wait_for_function("document.getElementById('buy').href.includes('client_reference_id')")
    (reference,) = parse_qs(urlsplit(str(page.get_attribute("#buy", "href"))).query)["client_reference_id"]
    key = pay(product, client_reference_id=reference)
    assert product.eventually_rows(LEDGER, k=key) == [("ana", "accrual", Decimal(5), "USD")]
    assert product.rows(ATTRIBUTION, k=key) == [("click_id", reference)]


def test_buyer_who_is_known_by_e_mail_alone(page: Page, site: Site, path: str, product: Product) -> None:
    email = f"{ulid.new()}@example.com"
    site.put(path, f"relo('init', {{ client_id: 1 }}); relo('page'); relo('identify', {{ email: '{email.upper()}' }});")
    with page.expect_response("**/click"):
        page.goto(site.url(path + "?ref=luis"))
    identified = "SELECT 1 FROM events WHERE event_name = 'identify' AND position(url, {p:String}) > 0"
    product.eventually_rows(identified, p=path)
    key = pay(product, customer_details={"email": email})
    assert product.eventually_rows(LEDGER, k=key) == [("luis", "accrual", Decimal("7.5"), "USD")]
    assert product.rows(ATTRIBUTION, k=key)[0][0] == "device"
