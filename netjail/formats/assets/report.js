// What the page does beyond showing: sort, filter, draw the timeline, change its colours.
"use strict";
(() => {
	const root = document.documentElement;
	const media = matchMedia("(prefers-color-scheme: dark)");
	const tables = [];
	let redraw = () => {};

	// ---- colours ----

	const dark = () => (root.dataset.theme || (media.matches ? "dark" : "light")) === "dark";

	function theme() {
		const button = document.getElementById("theme");
		const show = () => {
			button.setAttribute("aria-pressed", String(dark()));
			redraw();
		};
		try { // a page opened as a file may have no storage
			root.dataset.theme = localStorage.getItem("netjail-theme") || "";
		} catch { /* then the choice lasts as long as the page */ }
		button.hidden = false;
		button.addEventListener("click", () => {
			root.dataset.theme = dark() ? "light" : "dark";
			try { localStorage.setItem("netjail-theme", root.dataset.theme); } catch { /* as above */ }
			show();
		});
		media.addEventListener("change", show);
		show();
	}

	// ---- tables ----

	function table(element) {
		const rows = element.tBodies[0].rows.length;
		const paged = rows > 25, few = rows < 6 && !element.querySelector("td.verdict");
		const made = new DataTable(element, {
			autoWidth: false,
			order: [], // as it came: the denied first
			paging: paged,
			pageLength: 25,
			lengthMenu: [25, 100, { label: "all", value: -1 }],
			layout: {
				topStart: few ? null : "search",
				topEnd: few ? null : "info",
				bottomStart: paged ? "paging" : null,
				bottomEnd: paged ? "pageLength" : null,
			},
			language: {
				search: element.dataset.find,
				info: "_START_ to _END_ of _TOTAL_",
				infoEmpty: "none",
				infoFiltered: "(_MAX_ in all)",
				zeroRecords: "nothing matches",
				lengthMenu: "rows a page _MENU_",
			},
		});
		// What calls itself a button is pressed by Space as well; the library knows Enter.
		element.tHead.addEventListener("keydown", event => {
			if (event.key === " " && event.target.matches("[role=button]")) {
				event.preventDefault();
				event.target.click();
			}
		});
		tables.push(made);
		return made;
	}

	function filters(made) {
		const group = document.querySelector(".filters");
		const buttons = [...group.querySelectorAll("button")];
		const choose = state => {
			for (const one of buttons)
				one.setAttribute("aria-pressed", String(one.dataset.state === state));
			made.search.fixed("state", state ? (_text, _data, index) =>
				made.row(index).node().classList.contains(state) : null).draw();
		};
		for (const one of buttons)
			one.addEventListener("click", () => choose(one.dataset.state));
		group.hidden = false;
		return choose;
	}

	// A link to a row that is filtered away, or on another page, shows it again.
	function follow(made, choose) {
		const go = () => {
			const row = /^#d\d+$/.test(location.hash) && made.row(location.hash);
			if (!row || !row.any())
				return;
			if (!row.node().isConnected) {
				made.search("");
				choose("");
				const at = made.rows({ order: "current" }).indexes().indexOf(row.index());
				const size = made.page.len();
				if (size > 0)
					made.page(Math.floor(at / size)).draw(false);
			}
			row.node().scrollIntoView({ block: "center" });
			row.node().focus({ preventScroll: true });
		};
		addEventListener("hashchange", go);
		document.addEventListener("click", event => {
			const link = event.target.closest("a[href^='#d']");
			if (link && link.hash === location.hash)
				go();
		});
		go();
	}

	// Paper has every row.
	function printing() {
		let lengths = [];
		addEventListener("beforeprint", () => {
			lengths = tables.map(one => one.page.len());
			for (const one of tables)
				one.page.len(-1).draw(false);
			redraw(true);
		});
		addEventListener("afterprint", () => {
			tables.forEach((one, at) => one.page.len(lengths[at]).draw(false));
			redraw();
		});
	}

	function copying() {
		if (!navigator.clipboard)
			return;
		for (const fix of document.querySelectorAll(".card .fix")) {
			const button = document.createElement("button");
			button.type = "button";
			button.textContent = "copy";
			button.setAttribute("aria-label", "copy " + fix.querySelector("code").textContent);
			button.addEventListener("click", async () => {
				try {
					await navigator.clipboard.writeText(fix.querySelector("code").textContent);
					button.textContent = "copied";
				} catch {
					button.textContent = "not allowed";
				}
			});
			fix.append(button);
		}
	}

	// ---- the timeline ----

	const MARKS = { // state: (colour, how it is drawn)
		denied: ["--bad", cross], would: ["--bad", cross],
		quiet: ["--faint", dash], allowed: ["--good", dot],
	};

	const ORDER = Object.keys(MARKS);

	function dot(ctx, x, y, size) {
		ctx.beginPath();
		ctx.arc(x, y, size, 0, 2 * Math.PI);
		ctx.fill();
	}

	function cross(ctx, x, y, size) {
		ctx.beginPath();
		ctx.moveTo(x - size, y - size);
		ctx.lineTo(x + size, y + size);
		ctx.moveTo(x - size, y + size);
		ctx.lineTo(x + size, y - size);
		ctx.stroke();
	}

	function dash(ctx, x, y, size) {
		ctx.beginPath();
		ctx.moveTo(x - size, y);
		ctx.lineTo(x + size, y);
		ctx.stroke();
	}

	function cut(text, width) {
		const tail = Math.ceil((width - 1) / 2);
		return text.length <= width ? text :
			text.slice(0, width - 1 - tail) + "\u2026" + text.slice(-tail);
	}

	// As ISO 8601, in UTC; incr: the seconds from one tick to the next.
	function ticks(_chart, splits, _axis, _space, incr) {
		const [from, to] = incr >= 86400 ? [0, 10] : incr >= 60 ? [11, 16] : incr >= 1 ? [11, 19] : [11, 23];
		return splits.map(one => new Date(Math.round(one * 1000)).toISOString().slice(from, to));
	}

	function timeline() {
		const place = document.getElementById("chart");
		if (!place)
			return;
		const { lanes, points } = JSON.parse(document.getElementById("data").textContent);
		const signs = { denied: "\u2715", would: "\u2715", quiet: "\u2013", allowed: "\u2713" };
		const first = points[0][0], last = points[points.length - 1][0];
		const margin = Math.max((last - first) * .03, .05);
		// uPlot's data: the times, padded, and for each a height; lane 0 is the top one.
		const times = [first - margin, ...points.map(one => one[0]), last + margin];
		const heights = [null, ...points.map(one => -one[1]), null];
		const wide = at => Math.min(1 + Math.log10(points[at][2]) * .5, 2.5);
		const said = document.getElementById("pointed");
		let chart = null;

		const draw = (u, series, from, to) => {
			const style = getComputedStyle(root), ctx = u.ctx, unit = devicePixelRatio;
			ctx.save();
			ctx.beginPath();
			ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
			ctx.clip();
			ctx.lineWidth = 2.2 * unit;
			const some = Array.from({ length: to - from + 1 }, (_, at) => from + at)
				.filter(at => heights[at] !== null);
			// What was denied lies on top.
			some.sort((a, b) => ORDER.indexOf(points[b - 1][3]) - ORDER.indexOf(points[a - 1][3]));
			for (const at of some) {
				const [colour, mark] = MARKS[points[at - 1][3]];
				ctx.fillStyle = ctx.strokeStyle = style.getPropertyValue(colour);
				mark(ctx, u.valToPos(times[at], "x", true), u.valToPos(heights[at], "y", true),
					4.2 * unit * wide(at - 1));
			}
			ctx.restore();
			return null;
		};

		const say = u => {
			const { left, top, idx } = u.cursor;
			if (idx == null || left < 0)
				return;
			const lane = -Math.round(u.posToVal(top, "y"));
			let best = null, least = 12; // pixels
			for (let at = 0; at < points.length; at++) {
				const away = Math.abs(u.valToPos(points[at][0], "x") - left);
				if (points[at][1] === lane && away < least)
					[best, least] = [points[at], away];
			}
			said.textContent = best ? `${new Date(best[0] * 1000).toISOString().slice(11, 23)}  ` +
				`${signs[best[3]]} ${best[4]}, ${best[2]} ${best[2] === 1 ? "attempt" : "attempts"}` : "\u00a0";
		};

		const options = (width, style) => {
			const letters = width < 500 ? 14 : width < 900 ? 26 : 40;
			const axis = { stroke: style.getPropertyValue("--text"), ticks: { show: false } };
			const grid = { stroke: style.getPropertyValue("--line"), width: 1 };
			const names = lanes.map(([name, state]) =>
				`${signs[state] || ""} ${cut(name, letters)}`);
			const ruler = document.createElement("canvas").getContext("2d");
			ruler.font = "12px system-ui, sans-serif";
			const room = Math.max(...names.map(name => ruler.measureText(name).width));
			return {
				width, height: 28 * lanes.length + 40,
				tzDate: seconds => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
				legend: { show: false },
				cursor: { points: { show: false }, y: false },
				padding: [8, 12, 0, 0],
				scales: { x: { time: true }, y: { range: [.6 - lanes.length, .6] } },
				axes: [
					{ ...axis, grid, font: "12px system-ui, sans-serif", space: 100, size: 32, values: ticks },
					{
						...axis, grid, font: "12px system-ui, sans-serif", size: Math.ceil(room) + 14,
						splits: () => lanes.map((_, at) => -at), values: () => names,
					},
				],
				series: [{}, { paths: draw, points: { show: false } }],
				hooks: { setCursor: [say] },
			};
		};

		redraw = (paper = false) => {
			const style = getComputedStyle(root);
			if (chart)
				chart.destroy();
			const width = paper ? Math.min(place.clientWidth, 680) : place.clientWidth;
			chart = new uPlot(options(width, style), [times, heights], place);
		};
		let seen = place.clientWidth;
		new ResizeObserver(() => {
			if (place.clientWidth !== seen) {
				seen = place.clientWidth;
				redraw();
			}
		}).observe(place);
	}

	DataTable.ext.errMode = "none"; // not alert()
	timeline();
	theme();
	for (const element of document.querySelectorAll("table.data")) {
		const made = table(element);
		if (element.querySelector("td.verdict"))
			follow(made, filters(made));
	}
	printing();
	copying();
})();
