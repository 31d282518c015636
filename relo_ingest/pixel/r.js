// The relo pixel; docs/pixel.md says what it does. setup.py makes r.min.js of it. ES2017, no dependencies.
//
// The page's snippet queues its calls in relo.q. This script takes the queue over, and then runs calls as they come.
// From top to bottom: storage · ids · sending · events · landing clicks · payment links · consent · the calls.
(function (window, document, navigator, location) {
  const stub = window.relo || {};
  if (stub.version) return; // the script is on the page twice

  const CLICK = '_relo_cid', DEVICE = '_relo_did', PROBE = '_relo_t', UNSENT = '_relo_q', LAST_REF = '_relo_ref';
  const ULID = /^[0-7][^\WILOU_]{25}$/i; // digits and letters, but not I, L, O, U
  const NOT_PERSONAL = ['client_id', 'event', 'event_id', 'ts', 'value', 'currency'];
  const DAY_MS = 864e5, MOST_UNSENT = 50, MOST_AT_ONCE = 200;

  const parse = JSON.parse, stringify = JSON.stringify;
  const landing = new URL(location); // a single-page app may have moved on when consent comes
  const script = document.currentScript;
  const options = { cookie_days: 60, endpoint: new URL('.', (script && script.src) || landing) };
  const memory = {}; // the ids, for a page whose browser keeps nothing
  const seen = {}; // the URLs that this page load has counted
  let consent, cookieDomain, lastUrl, scanTimer, sendTimer;
  let referrer = document.referrer;
  let held = []; // jobs that wait for init, for consent, or for a prerendered page to be shown
  let unsent = []; // JSON texts
  let failures = 0; // in a row
  let credentials = 'omit';
  let isClickOpen; // a landing click waits for its answer

  const log = (...what) => options.debug && console.log('relo', ...what);

  // Whatever goes wrong in here stays in here.
  const safe = work => (...given) => {
    try {
      return work(...given);
    } catch (error) {
      log(error);
    }
  };

  const on = (target, name, work) => target.addEventListener(name, safe(work), true);

  // Global Privacy Control or Do Not Track: events count, without what says whose they are, and nothing is stored.
  const isPrivate = () =>
    options.privacy_signals != 'ignore' && (navigator.globalPrivacyControl || navigator.doNotTrack == 1);

  const base32 = (number, digits) =>
    digits ? base32(Math.floor(number / 32), digits - 1) + '0123456789ABCDEFGHJKMNPQRSTVWXYZ'[number % 32] : '';

  const ulid = () =>
    crypto.getRandomValues(new Uint8Array(16)).reduce((text, byte) => text + base32(byte, 1), base32(Date.now(), 10));

  // ---- storage: each browser may refuse each of them ----

  const storage = isOfSession => window[isOfSession || options.cookieless ? 'sessionStorage' : 'localStorage'];

  const kept = safe((name, isOfSession) => storage(isOfSession).getItem(name));

  const keep = safe((name, text, isOfSession) => {
    storage(isOfSession)[text ? 'setItem' : 'removeItem'](name, text);
  });

  const readCookie = safe(name => (document.cookie.match('\\b' + name + '=(\\w*)') || [])[1]);

  const writeCookie = safe((name, value, domain) => {
    document.cookie = name + '=' + value + ';path=/;max-age=' + (value && options.cookie_days * 86400) + ';SameSite=Lax' +
      (domain ? ';domain=' + domain : '') + (location.protocol == 'https:' ? ';Secure' : '');
  });

  // The widest domain that takes a cookie. Browsers refuse "com" and "co.uk"; "" is this host alone.
  const widestDomain = () => {
    const labels = location.hostname.split('.');
    return [options.cookie_domain, ...labels.map((_, index) => labels.slice(~index).join('.'))].find(domain => {
      writeCookie(PROBE, 1, domain);
      const isTaken = domain && readCookie(PROBE);
      writeCookie(PROBE, 0, domain);
      return isTaken;
    });
  };

  // ---- ids ----

  // The cookie; else its copy, "value.expiry": some browsers clear what a script stored, but not all of it at once.
  const load = name => {
    const [copy, expiry] = (kept(name) + '').split('.');
    return [options.cookieless || readCookie(name), expiry > Date.now() && copy, memory[name]]
      .find(value => ULID.test(value)) || '';
  };

  const save = (name, value) => {
    const there = readCookie(name);
    if (isPrivate()) value = '';
    memory[name] = value;
    keep(name, value && value + '.' + (Date.now() + options.cookie_days * DAY_MS));
    // A cookie that the server set lives longer than one that a script writes over it: in Safari 7 days.
    if (options.cookieless || (options.server_cookies && there == value) || !(value || there)) return;
    if (cookieDomain == null) cookieDomain = widestDomain() || '';
    writeCookie(name, 0); // one of this host alone would hide that of the domain
    writeCookie(name, value || 0, cookieDomain);
  };

  const idOf = name => consent == 'granted' && !isPrivate() ? load(name) : '';

  const forget = () => {
    save(CLICK);
    save(DEVICE);
    keep(UNSENT);
    keep(LAST_REF, '', true);
    unsent = [];
  };

  // ---- sending ----

  const stored = () => parse(kept(UNSENT) || '[]');

  // Puts texts that failed into storage, or takes out those that were answered; other tabs have theirs there too.
  const remember = safe((texts, haveFailed) => {
    const all = stored().filter(text => !texts.includes(text)).concat(haveFailed ? texts : []);
    keep(UNSENT, all[0] && !isPrivate() && stringify(all.slice(-MOST_UNSENT)));
  });

  const isClick = text => text.startsWith('{"click_id');

  const settle = safe((texts, status) => {
    const isFinal = /^(2|4(?!08|29))/.test(status); // not: no answer, a body too slow, a quota, a server in trouble
    log(status, texts);
    if (consent == 'denied') return; // while the answer was awaited
    if (isClick(texts[0])) {
      isClickOpen = false;
      if (status == 204) save(CLICK, parse(texts[0]).click_id);
      scanSoon();
    }
    remember(texts, !isFinal);
    if (!isFinal) {
      unsent = texts.concat(unsent).slice(-MOST_UNSENT);
      // 1 s, 2 s, 4 s, … 5 minutes; spread, so that not all visitors come at once when a server is back.
      schedule(Math.min(500 * 2 ** failures++, 3e5) * (1 + Math.random()));
    } else {
      failures = 0;
      if (unsent[0]) schedule();
      // Of several, some were refused, or they were too long together: each gets an answer of its own.
      if (texts[1] && /200|413/.test(status)) texts.forEach(text => post('e', [text]));
    }
  });

  // The texts' own ids make it harmless to send them again.
  const post = (path, texts) => {
    const url = options.endpoint + path, body = texts[1] ? `[${texts}]` : texts[0];
    if ('keepalive' in Request.prototype) {
      // A string is sent as text/plain: no preflight. What outlives the page may have 64 KiB.
      fetch(url, { method: 'POST', body, credentials, keepalive: body.length < 2e4 })
        .then(answer => settle(texts, answer.status), () => {
          credentials = 'omit'; // the server may not be set up for cookies
          settle(texts);
        });
    } else if (navigator.sendBeacon && navigator.sendBeacon(url, body)) {
      settle(texts, 204);
    } else {
      texts.forEach(text => {
        const fields = parse(text);
        for (const name in fields) if (typeof fields[name] == 'object') fields[name] = stringify(fields[name]);
        new Image().src = url + '?' + new URLSearchParams(fields);
      });
    }
  };

  const flush = safe(() => {
    const texts = unsent.filter(text => parse(text).ts > Date.now() - 2 * DAY_MS);
    const events = texts.filter(text => !isClick(text) || post('click', [text]));
    clearTimeout(sendTimer);
    unsent = [];
    if (events[0]) post('e', events);
  });

  const schedule = ms => {
    clearTimeout(sendTimer);
    sendTimer = setTimeout(flush, ms);
  };

  const enqueue = fields => {
    if (consent == 'denied') return; // while an address was hashed
    unsent.push(stringify(fields, isPrivate() && NOT_PERSONAL));
    if (!failures) schedule();
  };

  // Shown or hidden, or gone the next moment. Offline, nobody would be left to see the failure.
  const leave = () => navigator.onLine ? flush() : remember(unsent, true);

  // ---- events ----

  // `given` is what the page says of the event: as it is now, whatever the page does with it later.
  const track = (name, given, url = location.href) => {
    const fields = parse(stringify(given || {})), address = fields.email, props = {};
    const event = {
      event: name, url, referrer, title: document.title, lang: navigator.language,
      screen: screen.width + 'x' + screen.height
    };
    for (const field in fields) {
      (/^(value|currency|order_id|products|user_id|email_hash)$/.test(field) ? event : props)[field] = fields[field];
    }
    Object.assign(props, props.props, { props: undefined, email: undefined });
    const send = hash => enqueue(Object.assign(event, {
      client_id: options.client_id, event_id: ulid(), ts: Date.now(), cid: load(CLICK), did: load(DEVICE),
      props: stringify(props)[2] && props // none when it is {}
    }, hash && { email_hash: new Uint8Array(hash).reduce((text, byte) => text + (256 + byte).toString(16).slice(1), '') }));
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
    seen[url] = true;
    track('page', fields, url);
  };

  // The address is read at once, the title a moment later, when the page has set it.
  const moved = () => {
    const url = location.href;
    setTimeout(safe(() => seen[url] || page(0, url)));
  };

  const watchHistory = () => {
    ['pushState', 'replaceState'].forEach(name => {
      const original = history[name];
      history[name] = function () {
        const result = original.apply(this, arguments);
        moved();
        return result;
      };
    });
    on(window, 'popstate', moved);
    moved();
  };

  // ---- landing clicks ----

  const land = () => {
    const clicked = landing.searchParams.get('click_id'), ref = landing.searchParams.get('ref');
    if (ULID.test(clicked)) {
      save(CLICK, clicked.toUpperCase());
    } else if (ref && kept(LAST_REF, true) != ref) {
      const click_id = ulid();
      keep(LAST_REF, ref, true);
      // Many a site has a ref= of its own: it replaces an earlier click only when the ingest knows the partner.
      if (!load(CLICK)) save(CLICK, click_id);
      isClickOpen = true;
      enqueue({
        click_id, client_id: options.client_id, ts: Date.now(), did: load(DEVICE), url: landing.href, referrer
      });
    }
  };

  // ---- payment links ----

  const ATTRIBUTE = 'client_reference_id';
  const atStripe = selectors =>
    ['buy', 'checkout'].map(name => selectors.replace(/~/g, '^="https://' + name + '.stripe.com/"'));

  const each = (selectors, work) => document.querySelectorAll(selectors).forEach(work);

  const scan = safe(() => {
    const id = idOf(CLICK);
    scanTimer = 0;
    if (!id || isClickOpen) return;
    each(atStripe('a[href~]:not([href*="' + ATTRIBUTE + '="])'), (link, index) => {
      if (index < MOST_AT_ONCE) {
        link.href = link.href.replace(/[^#]*/, address =>
          address + (address.includes('?') ? '&' : '?') + ATTRIBUTE + '=' + id);
      } else scanSoon();
    });
    each(atStripe('form[action~],[formaction~]'), element => {
      const form = element.form || element;
      if (!form.elements[ATTRIBUTE]) {
        form.append(Object.assign(document.createElement('input'), { type: 'hidden', name: ATTRIBUTE, value: id }));
      }
    });
    each('stripe-buy-button:not([client-reference-id])', widget => widget.setAttribute('client-reference-id', id));
    each('input[name=relo_click_id]', input => { input.value = input.value || id; });
  });

  // A part at a time, so that no page feels it.
  const scanSoon = () => { scanTimer = scanTimer || setTimeout(scan, 50); };

  // ---- consent ----

  const isReady = () => options.client_id && consent == 'granted' && !document.prerendering;

  const whenReady = job => {
    if (isReady()) job();
    else if (consent != 'denied' && held.length < MOST_AT_ONCE) held.push(safe(job));
  };

  // As soon as everything allows it; again when a visitor who had withdrawn the consent gives it back.
  const begin = safe(() => {
    if (!isReady()) return;
    unsent = stored().concat(unsent);
    save(DEVICE, load(DEVICE) || ulid());
    if (isPrivate()) forget();
    else land();
    save(CLICK, load(CLICK) || ulid());
    schedule();
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
      options.endpoint = (options.endpoint + '/').replace(/\/+$/, '/');
      if (options.server_cookies) credentials = 'include';
      if (isFirst) {
        if (options.auto) watchHistory();
        decide(consent || options.consent || 'granted');
      }
    },
    page,
    event: track,
    identify: fields => track('identify', fields),
    consent: decision => decision == consent || decide(decision),
    // A checkout that asks is never left waiting for consent.
    get: callback => {
      const answer = () => callback({ click_id: idOf(CLICK), device_id: idOf(DEVICE) });
      if (/wait|denied/.test(consent)) answer();
      else whenReady(answer);
    }
  };

  const relo = window.relo = safe((name, ...given) => {
    calls[name](...given);
  });
  relo.version = '0.0.0'; // replaced in r.min.js
  new MutationObserver(scanSoon).observe(document, {
    subtree: true, childList: true, attributeFilter: ['href', 'action']
  });
  on(window, 'click', scan); // on a link made a moment ago
  on(document, 'prerenderingchange', begin);
  on(window, 'visibilitychange', leave);
  on(window, 'pagehide', leave);
  on(window, 'online', flush);
  (stub.q || []).forEach(call => relo(...call));
})(window, document, navigator, location);
