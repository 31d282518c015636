// relo pixel. Calls that were queued before this script arrived are run in order; then window.relo runs them at once.
(function (window, document) {
  'use strict';
  var queued = (window.relo && window.relo.q) || [];
  if (window.relo && window.relo.loaded) return;

  var ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i;
  var DAYS = 60;
  var script = document.currentScript && document.currentScript.src;
  var settings = { client_id: 0, endpoint: script ? new URL('/e', script).href : '/e' };

  function ulid() {
    var alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
    var random = crypto.getRandomValues(new Uint8Array(16));
    var time = Date.now();
    var text = '';
    for (var i = 9; i >= 0; i--) {
      text = alphabet[time % 32] + text;
      time = Math.floor(time / 32);
    }
    for (var j = 0; j < 16; j++) text += alphabet[random[j] % 32];
    return text;
  }

  function cookie(name, value) {
    if (value === undefined) {
      var found = document.cookie.match('(?:^|; )' + name + '=([^;]*)');
      return found ? found[1] : '';
    }
    document.cookie = name + '=' + value + '; path=/; max-age=' + DAYS * 86400 + '; SameSite=Lax' +
      (location.protocol === 'https:' ? '; Secure' : '');
    return value;
  }

  function ids() {
    var clicked = new URLSearchParams(location.search).get('click_id') || '';
    var cid = ULID.test(clicked) ? clicked.toUpperCase() : cookie('_relo_cid');
    return {
      cid: cookie('_relo_cid', ULID.test(cid) ? cid : ulid()),
      did: cookie('_relo_did', ULID.test(cookie('_relo_did')) ? cookie('_relo_did') : ulid())
    };
  }

  function send(name, properties) {
    var fields = properties || {};
    var own = ids();
    var beacon = {
      client_id: settings.client_id, event: name, event_id: ulid(), ts: Date.now(), cid: own.cid, did: own.did,
      url: location.href, referrer: document.referrer, title: document.title, lang: navigator.language || '',
      screen: screen.width + 'x' + screen.height
    };
    for (var key in fields) if (!(key in beacon)) beacon[key] = fields[key];
    var body = JSON.stringify(beacon);
    // text/plain needs no preflight; keepalive outlives the page.
    if (window.fetch) {
      fetch(settings.endpoint, { method: 'POST', body: body, keepalive: true, credentials: 'omit' }).catch(function () {});
    } else if (navigator.sendBeacon) {
      navigator.sendBeacon(settings.endpoint, body);
    }
  }

  var calls = {
    init: function (options) { for (var key in options) settings[key] = options[key]; },
    page: function () { send('page'); },
    event: send
  };

  function relo(name) {
    try {
      if (calls[name]) calls[name].apply(null, [].slice.call(arguments, 1));
    } catch (error) { /* nothing of ours may break the page */ }
  }
  relo.loaded = true;
  window.relo = relo;
  for (var i = 0; i < queued.length; i++) relo.apply(null, queued[i]);
})(window, document);
