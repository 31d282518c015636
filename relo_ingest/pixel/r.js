// The relo pixel; docs/pixel.md says what it does. setup.py makes r.min.js of it. ES2017, no dependencies.
//
// The page's snippet queues its calls in relo.q. This script takes the queue over, and then runs calls as they come.
// From top to bottom: storage · ids · sending · events · landing clicks · payment links · consent · the calls · start.
(function (window, document, navigator, location) {
  const CLICK = '_relo_cid', DEVICE = '_relo_did', UNSENT = '_relo_q', LANDED = '_relo_ref', SESSION = 'sessionStorage';
  const ULID = /^[0-7][^\WILOU_]{25}$/i; // digits and letters, but not I, L, O, U
  const NOT_PERSONAL = ['client_id', 'event', 'event_id', 'ts', 'value', 'currency'];
  const DAY_MS = 864e5, MOST_UNSENT = 50, MOST_AT_ONCE = 200;

  const parse = JSON.parse, stringify = JSON.stringify;
  const landing = new URL(location); // a single-page app may have moved on when consent comes
  const script = document.currentScript || landing; // a module has none: it names its endpoint
  const options = { cookie_days: 60, consent: 'granted' }; // any other value of consent waits: it fails closed
  const memory = {}; // the ids, for a page whose browser keeps nothing; and the URLs that this page load has counted
  let consent, lastUrl, scanTimer;
  let referrer = document.referrer;
  let held = []; // jobs that wait for init or for consent
  let unsent = []; // JSON texts
  let failures = 0; // in a row
  let isClickOpen; // a landing click waits for the answer that says whether it replaces the id
  let stamped = ' '; // the id that payment links have from us

  const log = (...what) => options.debug && console.log('relo', ...what);

  // Whatever goes wrong in here stays in here.
  const safe = work => (...given) => {
    try {
      return work(...given);
    } catch (error) {
      log(error);
    }
  };

  // On the window, which sees all events: before the page's own handlers, or after them.
  const on = (name, work, isLate) => window.addEventListener(name, work, !isLate);

  // Global Privacy Control or Do Not Track: events count, without what says whose they are, and nothing is stored.
  const isPrivate = () =>
    options.privacy_signals != 'ignore' && navigator.globalPrivacyControl | navigator.doNotTrack;

  // In base 32: 10 digits of the time, 16 of chance.
  const ulid = (now = Date.now()) => crypto.getRandomValues(new Uint8Array(26)).reduce((text, byte, index) =>
    text + '0123456789ABCDEFGHJKMNPQRSTVWXYZ'[(index < 10 ? now / 32 ** (9 - index) : byte) % 32 | 0], '');

  // ---- storage: each browser may refuse each of them ----

  const area = () => options.cookieless ? SESSION : 'localStorage';

  const kept = safe((name, of = area()) => window[of].getItem(name));

  const keep = safe((name, text, of = area()) => window[of][text ? 'setItem' : 'removeItem'](name, text));

  const readCookie = safe(name => (document.cookie.match('(^|; )' + name + '=(\\w*)') || [])[2]);

  const writeCookie = safe((name, value, domain) => {
    document.cookie = name + '=' + value + ';path=/;SameSite=Lax;max-age=' + (value && options.cookie_days * 86400) +
      (domain ? ';domain=' + domain : '') + (location.protocol == 'https:' ? ';Secure' : '');
  });

  // Where a cookie of this site may be, the widest first; "" is this host alone.
  const domains = () => [options.cookie_domain,
    ...landing.hostname.split('.').map((_, index, labels) => labels.slice(~index).join('.')), ''];

  // ---- ids ----

  // The cookie; else its copy, "value.expiry": some browsers clear what a script stored, but not all of it at once.
  const load = name => {
    const [copy, expiry] = (kept(name) + '').split('.');
    return [options.cookieless || readCookie(name), expiry > Date.now() && copy, memory[name]]
      .find(value => ULID.test(value)) || '';
  };

  const save = (name, value) => {
    if (isPrivate()) return;
    memory[name] = value;
    keep(name, value + '.' + (Date.now() + options.cookie_days * DAY_MS));
    // A cookie that the server set lives longer than one that a script writes over it: in Safari 7 days.
    if (options.cookieless || (options.server_cookies && readCookie(name) == value)) return;
    writeCookie(name, 0); // one of this host alone would hide that of the domain
    // Browsers refuse "com" and "co.uk": the widest domain that takes a cookie.
    writeCookie(name, value, domains().find(domain => {
      writeCookie(UNSENT, 1, domain);
      const isTaken = domain && readCookie(UNSENT);
      writeCookie(UNSENT, 0, domain);
      return isTaken;
    }));
  };

  const idOf = name => consent == 'granted' ? load(name) : '';

  // Wherever it may be: a page of the site with other options may have put it there.
  const forget = () => {
    unsent = [];
    [CLICK, DEVICE, UNSENT, LANDED].forEach(name => {
      memory[name] = '';
      keep(name, '', 'localStorage');
      keep(name, '', SESSION);
      domains().forEach(domain => writeCookie(name, 0, domain));
    });
  };

  // ---- sending ----

  // Not what is too old, or what something else on the page has damaged.
  const stored = () =>
    safe(() => parse(kept(UNSENT) || '[]').filter(text => parse(text).ts > Date.now() - 2 * DAY_MS))() || [];

  // Puts texts that have no answer into storage, or takes out those that have; other tabs have theirs there too.
  const remember = (texts, areOpen) => {
    const all = stored().filter(text => !texts.includes(text)).concat(areOpen ? texts : []);
    keep(UNSENT, all[0] && !isPrivate() && stringify(all.slice(-MOST_UNSENT)));
  };

  const closeClick = () => {
    isClickOpen = false;
    scanSoon();
  };

  const clickOf = text => parse(text).click_id; // none: an event

  const settle = safe((texts, status) => {
    const clickId = clickOf(texts[0]);
    const isFinal = /^(2|4(?!08|29))/.test(status); // not: no answer, a body too slow, a quota, a server in trouble
    log(status, texts);
    if (consent == 'denied') return forget(); // while the answer was awaited: it may have brought cookies
    if (clickId) {
      // Sent again after a failure it may be older than a click that came since.
      if (status == 204 && clickId > load(CLICK)) save(CLICK, clickId);
      closeClick();
    }
    remember(texts, !isFinal);
    if (!isFinal) {
      unsent = texts.concat(unsent).slice(-MOST_UNSENT);
      // 1 s, 2 s, 4 s, … 5 minutes; spread, so that not all visitors come at once when a server is back.
      setTimeout(flush, Math.min(500 * 2 ** failures++, 3e5) * (1 + Math.random()));
    } else {
      failures = 0;
      if (unsent[0]) setTimeout(flush);
      // Of several, some were refused, or they were too long together: each gets an answer of its own.
      if (texts[1] && /200|413/.test(status)) texts.forEach(text => post([text]));
    }
  });

  // The texts' own ids make it harmless to send them again.
  const post = texts => {
    const ofClick = clickOf(texts[0]), url = options.endpoint + (ofClick ? 'click' : 'e');
    const body = texts[1] ? `[${texts}]` : texts[0];
    if (ofClick || 'keepalive' in Request.prototype) { // a click needs its answer, whatever the browser
      // A string is sent as text/plain: no preflight. What outlives the page may have 64 KiB. While a click may replace
      // the id, no cookies: the answer would bring back the id from before.
      fetch(url, {
        method: 'POST', body, keepalive: body.length < 2e4,
        credentials: options.server_cookies && !isClickOpen ? 'include' : 'omit'
      }).then(answer => settle(texts, answer.status), () => {
        settle(texts, options.server_cookies = 0); // no answer: maybe this server is not set up for cookies
      });
      return;
    }
    if (!safe(() => navigator.sendBeacon(url, body))()) {
      texts.forEach(text => {
        const fields = parse(text, (name, value) => /^pro(ps|ducts)$/.test(name) ? stringify(value) : value);
        new Image().src = url + '?' + new URLSearchParams(fields);
      });
    }
    settle(texts, 204);
  };

  const flush = safe(() => {
    const texts = unsent.splice(0, MOST_AT_ONCE);
    remember(texts, true); // the page may be gone before the answer is there
    const events = texts.filter(text => !clickOf(text) || post([text]));
    if (events[0]) post(events);
  });

  const enqueue = fields => {
    if (consent == 'denied') return; // while an address was hashed
    unsent.push(stringify(fields, isPrivate() && NOT_PERSONAL));
    if (!failures) setTimeout(flush);
  };

  // ---- events ----

  // `given` is what the page says of the event: as it is now, whatever the page does with it later.
  const track = (name, given, url = location.href) => {
    const fields = parse(stringify(given || {})), address = fields.email, props = Object.assign({}, fields.props);
    const event = {
      client_id: options.client_id, ts: Date.now(), event: name, url, referrer, title: document.title,
      lang: navigator.language, screen: screen.width + 'x' + screen.height
    };
    fields.email = fields.props = null; // not as they are
    for (const field in fields) {
      if (fields[field] != null) {
        (/^(value|currency|order_id|products|user_id|email_hash)$/.test(field) ? event : props)[field] = fields[field];
      }
    }
    const send = hash => enqueue(Object.assign(event, {
      client_id: event.client_id || options.client_id, event_id: ulid(), cid: load(CLICK), did: load(DEVICE), props
    }, hash && {
      email_hash: new Uint8Array(hash).reduce((text, byte) => text + (256 + byte).toString(16).slice(1), '')
    }));
    whenReady(() => {
      // Without TLS browsers have no SHA-256: the address stays where it is.
      if (address && crypto.subtle) {
        crypto.subtle.digest('SHA-256', new TextEncoder().encode(address.trim().toLowerCase())).then(safe(send));
      } else send();
    });
  };

  const page = (fields, url = location.href) => {
    if (url == lastUrl) return; // a page says it twice
    referrer = lastUrl || referrer;
    lastUrl = url;
    memory[url] = true;
    track('page', fields, url);
  };

  // The address is read at once, the title a moment later, when the page has set it.
  const moved = () => {
    const url = location.href;
    setTimeout(safe(() => memory[url] || page(0, url)));
  };

  const watchHistory = () => {
    ['pushState', 'replaceState'].forEach(name => {
      const original = history[name];
      history[name] = (...given) => {
        original.apply(history, given);
        moved();
      };
    });
    on('popstate', moved);
    moved();
  };

  // ---- landing clicks ----

  const land = () => {
    const clicked = landing.searchParams.get('click_id'), ref = landing.searchParams.get('ref');
    const mark = clicked || ref, click_id = ulid();
    if (!mark || kept(LANDED, SESSION) == mark) return; // a reload is no click
    keep(LANDED, mark, SESSION);
    if (ULID.test(clicked)) {
      save(CLICK, clicked.toUpperCase());
    } else if (ref) {
      // Many a site has a ref= of its own: it replaces an earlier click only when the ingest knows the partner.
      isClickOpen = load(CLICK) != '';
      if (isClickOpen) setTimeout(closeClick, 2000); // nobody waits longer
      else save(CLICK, click_id);
      enqueue({
        click_id, client_id: options.client_id, ts: Date.now(), did: load(DEVICE), url: landing.href, referrer
      });
    }
  };

  // ---- payment links ----

  const ATTRIBUTE = 'client_reference_id';
  const atStripe = selectors => selectors.replace(/~/g, '^="https://buy.stripe.com/"') + ',' +
    selectors.replace(/~/g, '^="https://checkout.stripe.com/"');

  const each = (selectors, work) => document.querySelectorAll(selectors).forEach(safe(work));

  // Gives its id to what has none, and to what has one that we gave it before another click was adopted.
  const scan = safe(() => {
    const id = idOf(CLICK), old = id == stamped ? ' ' : stamped;
    scanTimer = 0;
    if (!id || isClickOpen) return;
    stamped = id;
    const fill = name => element => {
      if ([null, '', old].includes(element.getAttribute(name))) element.setAttribute(name, id);
    };
    each('a[href*="' + ATTRIBUTE + '=' + old + '"]', link => { link.href = link.href.replace(old, id); });
    each(atStripe('a[href~]:not([href*="' + ATTRIBUTE + '="])'), (link, index) => {
      if (index < MOST_AT_ONCE) link.search += (link.search && '&') + ATTRIBUTE + '=' + id;
      else scanSoon();
    });
    each(atStripe('form[action~],[formaction~]'), element => {
      const form = element.form || element;
      // Not in form.elements: that may be an input of the page's with this name.
      const selector = '[name=' + ATTRIBUTE + ']';
      if (!form.querySelector(selector)) {
        form.append(Object.assign(document.createElement('input'), { type: 'hidden', name: ATTRIBUTE }));
      }
      fill('value')(form.querySelector(selector));
    });
    each('stripe-buy-button', fill('client-reference-id'));
    each('input[name=relo_click_id]', fill('value'));
  });

  // A part at a time, so that no page feels it.
  const scanSoon = () => { scanTimer = scanTimer || setTimeout(scan, 300); };

  // ---- consent ----

  const isReady = () => options.client_id && consent == 'granted';

  const whenReady = job => {
    if (isReady()) job();
    else if (consent != 'denied' && held.length < MOST_AT_ONCE) held.push(safe(job));
  };

  // As soon as everything allows it; again when a visitor who had withdrawn the consent gives it back.
  const begin = safe(() => {
    if (!isReady()) return;
    unsent = stored();
    save(DEVICE, load(DEVICE) || ulid());
    if (isPrivate()) forget();
    else land();
    save(CLICK, load(CLICK) || ulid());
    setTimeout(flush);
    scan();
    held.splice(0).forEach(job => job());
  });

  const decide = decision => {
    const wasDenied = consent == 'denied';
    consent = decision;
    if (decision == 'denied') {
      held = [];
      forget();
    }
    begin();
    // What happened under the denial is gone; the page the visitor is on counts.
    if (wasDenied && lastUrl) page(lastUrl = '');
  };

  // ---- the calls ----

  const calls = {
    init(given) {
      const isFirst = !options.client_id;
      if (given.client_id != options.client_id) lastUrl = '';
      Object.assign(options, given).client_id = +given.client_id;
      options.endpoint = (options.endpoint || new URL('.', script.src || landing).href).replace(/\/*$/, '/');
      if (isFirst) {
        if (options.auto) watchHistory();
        decide(consent || options.consent);
      }
    },
    page,
    event: track,
    identify: fields => track('identify', fields),
    consent: decision => decision == consent || decide(decision),
    // A checkout that asks is never left waiting for consent, and 2 seconds for the answer to a click.
    get: callback => {
      const answer = () => isClickOpen ? setTimeout(safe(answer), 50) :
        callback({ click_id: idOf(CLICK), device_id: idOf(DEVICE) });
      if (consent && consent != 'granted') answer();
      else whenReady(answer);
    }
  };

  const start = () => {
    const stub = window.relo || {};
    if (stub.version) return; // the script is on the page twice
    const relo = window.relo = safe((name, ...given) => {
      calls[name](...given);
    });
    relo.version = '0.0.0'; // replaced in r.min.js
    new MutationObserver(scanSoon).observe(document, {
      subtree: true, childList: true, attributeFilter: ['href', 'action']
    });
    on('click', scan); // on a link made a moment ago
    on('visibilitychange', flush, true); // after the page's own handlers
    on('pagehide', flush);
    on('online', flush);
    // Who took window.relo before this script was there has the stub, which pushes into the queue.
    relo.q = { push: call => relo(...call) };
    (stub.q || []).forEach(relo.q.push);
  };

  // A page that is prerendered may never be shown: until then its calls wait in the queue.
  if (document.prerendering) on('prerenderingchange', start);
  else start();
})(window, document, navigator, location);
