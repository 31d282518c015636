"""A Stripe webhook of 3.6 KB, as Stripe sends it: ``checkout.session.completed`` with every field, most null."""

from __future__ import annotations

import time
from typing import Any

import msgspec

SECRET = b"whsec_demo_for_local_use_only"
"""Of the client ``demo`` in relo.example.toml."""


def checkout_completed(unique: str) -> bytes:
    """Indented, as Stripe's bodies are."""
    now = int(time.time())
    session: dict[str, Any] = {
        "id": f"cs_live_{unique}",
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": True},
        "after_expiration": None,
        "allow_promotion_codes": True,
        "amount_subtotal": 12_900,
        "amount_total": 11_610,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": "auto",
        "cancel_url": "https://shop.example.com/cart",
        "client_reference_id": "01JD4Z5G7QH8M3N2P1R0S9T8V7",
        "client_secret": None,
        "collected_information": {"shipping_details": None},
        "consent": None,
        "consent_collection": None,
        "created": now - 90,
        "currency": "usd",
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {"after_submit": None, "shipping_address": None, "submit": None},
        "customer": f"cus_{unique[:14]}",
        "customer_creation": "always",
        "customer_details": {
            "address": {
                "city": "Sacramento",
                "country": "US",
                "line1": "1200 J Street",
                "line2": None,
                "postal_code": "95814",
                "state": "CA",
            },
            "email": f"buyer.{unique[-6:].lower()}@example.com",
            "name": "Alex Rivera",
            "phone": None,
            "tax_exempt": "none",
            "tax_ids": [],
        },
        "customer_email": None,
        "discounts": [{"coupon": None, "promotion_code": f"promo_{unique[:20]}"}],
        "expires_at": now + 86_400,
        "invoice": None,
        "invoice_creation": {
            "enabled": False,
            "invoice_data": {
                "account_tax_ids": None,
                "custom_fields": None,
                "description": None,
                "footer": None,
                "issuer": None,
                "metadata": {},
                "rendering_options": None,
            },
        },
        "livemode": True,
        "locale": "en",
        "metadata": {"relo_click_id": "01JD4Z5G7QH8M3N2P1R0S9T8V7", "cart": unique[-10:]},
        "mode": "payment",
        "payment_intent": f"pi_{unique}",
        "payment_link": None,
        "payment_method_collection": "if_required",
        "payment_method_configuration_details": {"id": f"pmc_{unique[:22]}", "parent": None},
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card", "link", "cashapp"],
        "payment_status": "paid",
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "complete",
        "submit_type": None,
        "subscription": None,
        "success_url": "https://shop.example.com/thanks?session_id={CHECKOUT_SESSION_ID}",
        "total_details": {"amount_discount": 1_290, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted",
        "url": None,
        "wallet_options": None,
    }
    event = {
        "id": f"evt_{unique}",
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": now,
        "data": {"object": session},
        "livemode": True,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": "checkout.session.completed",
    }
    return msgspec.json.format(msgspec.json.encode(event), indent=2)
