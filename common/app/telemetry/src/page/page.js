'use strict';
// Everything that is shown goes through textContent or an attribute of a number: states and
// reasons come from homes and brokers and are never read as markup.
const $ = id => document.getElementById(id);
const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const whole = new Intl.NumberFormat('en');
const count = n => Number.isFinite(n) ? whole.format(n) : '–';

function make(tag, text, attributes) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  return element;
}

function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min ' + (s < 600 ? s % 60 + ' s' : '');
  if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min';
  return Math.floor(s / 86400) + ' d ' + Math.floor(s % 86400 / 3600) + ' h';
}

function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let unit = 0;
  while (n >= 1024 && unit < 3) { n /= 1024; unit++; }
  return (unit ? n.toFixed(1) : n) + ' ' + units[unit];
}

function ms(n) {
  if (!Number.isFinite(n)) return '–';
  if (n >= 10000) return span(n / 1000);
  return (n < 10 ? n.toFixed(1) : Math.round(n)) + ' ms';
}

const clock = time => new Date(time).toLocaleTimeString('en-GB');

// --- what the headline says ---

function headline(status) {
  const since = at => at ? 'for ' + span(Date.now() / 1000 - at) : '';
  const home = status.home_assistant;
  if (home) {
    const words = {
      connected: ['good', 'Connected', `to Home Assistant ${home.version || ''} ${since(home.since)}`],
      connecting: ['idle', 'Connecting', 'to Home Assistant'],
      auth_invalid: ['bad', 'Token refused', home.reason],
      disconnected: ['bad', 'Disconnected', `${since(home.since)} – ${home.reason}`],
    };
    const [tone, text, detail] = words[home.state] || ['warn', home.state, ''];
    if (tone === 'good' && status.not_ready.length) return ['warn', text, detail];
    return [tone, text, detail];
  }
  if (status.not_ready.length) return ['bad', 'Not ready', ''];
  return ['good', 'Consuming', status.broker ? 'from ' + status.broker : ''];
}

// --- the line ---

function sparkline(rates) {
  const svg = $('sparkline'), SVG = 'http://www.w3.org/2000/svg';
  // What came in first, whatever the order of the names.
  const columns = Object.entries(rates || {}).sort(([name]) => name === 'received_per_s' ? -1 : 1);
  const peak = Math.max(1, ...columns.flatMap(([, values]) => values));
  const points = values => values.map((value, index) =>
    `${180 - values.length + index},${(40 - 38 * value / peak).toFixed(2)}`);
  const shapes = columns.map(([, values], index) => {
    const at = points(values);
    const shape = document.createElementNS(SVG, index ? 'polyline' : 'polygon');
    const base = index ? [] : [`${180 - values.length},40`, ...at, '179,40'];
    shape.setAttribute('points', (index ? at : base).join(' '));
    shape.setAttribute('class', index ? 'out' : 'in');
    return shape;
  });
  svg.replaceChildren(...shapes);
  set($('rate-peak'), columns.length ? 'peak ' + count(peak) : '');
  // A rate for the eye: the mean of the last five seconds.
  columns.forEach(([name, values], index) => {
    const last = values.slice(-5);
    const mean = last.reduce((sum, value) => sum + value, 0) / Math.max(1, last.length);
    set($(index ? 'rate-out' : 'rate-in'), mean < 10 ? mean.toFixed(1) : count(Math.round(mean)));
    set($(index ? 'rate-out-name' : 'rate-in-name'), name.replace('_per_s', ''));
  });
}

// --- the cards ---

function cards(status) {
  const list = [], events = status.events || {};
  const card = (name, value, detail, tone) => list.push({ name, value, detail: detail || '', tone: tone || '' });
  const latency = status.latency_ms;
  if (latency) {
    const some = latency.count > 0;
    card('Latency, median', some ? ms(latency.p50) : '–',
      some ? `p95 ${ms(latency.p95)} · p99 ${ms(latency.p99)}, since the start` : 'nothing stored yet');
  }
  if (status.route) {
    card('Route', status.route, status.route === 'passing' ? `mode ${status.mode}` : 'events go to the spool',
      status.route === 'passing' ? 'good' : 'warn');
  }
  if (status.broker && status.broker.state) {
    card('RabbitMQ', status.broker.state, status.broker.reason, status.broker.state === 'connected' ? 'good' : 'bad');
  }
  if (status.workers && status.workers.length) {
    const ready = status.workers.filter(({ state }) => state === 'ready').length;
    const away = status.workers.find(({ state }) => state !== 'ready');
    card('Workers', `${ready} of ${status.workers.length}`, away ? away.reason : 'take events',
      away ? ready ? 'warn' : 'bad' : 'good');
  }
  if (status.sink) {
    card('Database', status.sink.state, status.sink.reason || 'takes every write', status.sink.state === 'available' ? 'good' : 'bad');
  }
  if (status.queues) {
    const waiting = status.queues['ha.events'];
    const backlog = status.backlog_seconds;
    card('Queue', count(waiting), Number.isFinite(backlog) && backlog >= 1 ? `messages, about ${span(backlog)} of work` : 'messages wait');
  }
  if (status.spool) {
    const waiting = status.spool.events;
    card('Spool', count(waiting), status.spool.disk_full ? 'the disk is full'
      : waiting ? `events wait, ${bytes(status.spool.bytes)}` : 'empty',
      status.spool.disk_full ? 'bad' : waiting ? 'warn' : '');
  }
  const letters = status.dead_letters;
  if (letters !== undefined) {
    const stored = status.queues && status.queues['ha.dead-letters'];
    card('Dead letters', count(letters),
      Number.isFinite(stored) ? `since the start · ${count(stored)} in the queue` : letters ? 'see worker dlq list' : 'none since the start',
      letters || stored ? 'warn' : '');
  }
  if (status.events) {
    card('Delivered', count(events.confirmed + events.drained), 
      `of ${count(events.received)} received${events.filtered ? `, ${count(events.filtered)} filtered` : ''}`);
    card('Lost', count(events.lost), events.lost ? 'the spool overflowed' : 'since the start',
      events.lost ? 'bad' : '');
  }
  const quality = status.quality;
  if (quality && Number.isFinite(quality.score)) {
    const rules = (quality.top_rules || []).slice(0, 3);
    const score = Number.isFinite(quality.latest_score) ? quality.latest_score : quality.score;
    card('Quality', score.toFixed(1),
      rules.length ? rules.map(({ rule, events }) => `${rule} ${count(events)}`).join(' · ') : 'no rule broken',
      score < 80 ? 'bad' : score < 95 ? 'warn' : 'good');
  }
  for (const { alert, severity, reading } of status.alerts || []) {
    card('Alert', alert.replace('HaIngestor', ''), reading, severity === 'critical' ? 'bad' : 'warn');
  }
  const box = $('cards');
  while (box.children.length > list.length) box.lastChild.remove();
  while (box.children.length < list.length) {
    const element = make('div');
    element.append(make('h2'), make('b'), make('p'));
    box.append(element);
  }
  list.forEach(({ name, value, detail, tone }, index) => {
    const [title, figure, text] = box.children[index].children;
    set(title, name); set(figure, value); set(text, detail);
    figure.setAttribute('data-tone', tone);
  });
}

// A name may break after its dots and underscores.
function breakable(cell, name) {
  for (const part of name.split(/(?<=[._])/)) cell.append(part, make('wbr'));
  return cell;
}

function latest(events) {
  const rows = (events || []).slice(0, 12).map(event => {
    const row = make('tr');
    row.append(make('td', Number.isFinite(event.time_ms) ? clock(event.time_ms) : ''), breakable(make('td'), event.entity_id));
    const state = typeof event.state === 'string';
    row.append(make('td', state ? event.state : '–', state ? {} : { class: 'none' }));
    return row;
  });
  $('latest').tBodies[0].replaceChildren(...rows);
  set($('latest-note'), rows.length ? '' : '– none yet');
}

function show(status) {
  const [tone, text, detail] = headline(status);
  $('headline').setAttribute('data-tone', tone);
  set($('headline'), text);
  set($('detail'), detail);
  set($('who'), [status.binary, status.instance].filter(Boolean).join(' · '));
  document.title = `${text} – ${[status.binary, status.instance].filter(Boolean).join(' ')}`;
  const reasons = status.not_ready || [];
  $('not-ready').hidden = reasons.length === 0;
  $('not-ready').replaceChildren(...reasons.map(reason => make('li', reason)));
  sparkline(status.rates);
  cards(status);
  latest(status.latest_events);
  const again = status.reconnections ? `, ${count(status.reconnections)} reconnections` : '';
  set($('uptime'), `Version ${status.version}, running for ${span(status.uptime_s)}${again}`);
}

// --- the loop: one request at a time, a second apart, none while nobody looks ---

let answered = 0;
async function follow() {
  if (!document.hidden) {
    try {
      const answer = await fetch('status', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
      show(await answer.json());
      answered = Date.now();
    } catch (error) {
      $('headline').setAttribute('data-tone', 'bad');
      set($('headline'), 'No answer');
      set($('detail'), answered ? `from this process for ${span((Date.now() - answered) / 1000)}` : 'from this process');
    }
  }
  setTimeout(follow, 1000);
}
follow();
