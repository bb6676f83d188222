-- The index: every job by its emission number, for lists of the newest. Jobs that are emitted together share an entry,
-- "number id" by "number id", if their numbers are of one stretch of TOGETHER; when nothing of a stretch is left, its
-- entries go. INDEXED says how much is left of each.

local function stretch_of(emission) return math.floor(tonumber(emission) / TOGETHER) end

-- Names jobs: `names` has their numbers, which follow one another from `first`, each before its id.
local function index_all(first, names)
  local at = 1
  while at <= #names do
    local stretch = stretch_of(first)
    local count = math.min((#names - at + 1) / 2, (stretch + 1) * TOGETHER - first)
    call('XADD', INDEX, names[at], unpack(names, at, at + 2 * count - 1))
    call('HINCRBY', INDEXED, int(stretch), int(count))
    first, at = first + count, at + 2 * count
  end
end

local function index(emission, id) index_all(emission, { int(emission), id }) end

local function unindex_all(emissions)
  local gone = {}
  for _, emission in ipairs(emissions) do
    local stretch = stretch_of(emission)
    gone[stretch] = (gone[stretch] or 0) + 1
  end
  for stretch, count in pairs(gone) do
    if call('HINCRBY', INDEXED, int(stretch), int(-count)) <= 0 then
      call('HDEL', INDEXED, int(stretch))
      local first, entries = stretch * TOGETHER, {}
      for _, entry in ipairs(call('XRANGE', INDEX, int(first), int(first + TOGETHER - 1))) do
        entries[#entries + 1] = entry[1]
      end
      if #entries > 0 then call('XDEL', INDEX, unpack(entries)) end
    end
  end
end

local function unindex(emission) unindex_all({ emission }) end
