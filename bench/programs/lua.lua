-- SPDX-License-Identifier: MIT
-- What scripts do: records in tables, strings built and taken apart, closures, coroutines.
local rounds = tonumber(arg[1])
local seed = 1

local function draw(bound)
	seed = (seed * 1103515245 + 12345) % 2147483648
	return seed // 65536 % bound
end

local function records(count)
	local list = {}
	for i = 1, count do
		local tags = {}
		for k = 1, draw(5) do
			tags[k] = "tag " .. draw(1000)
		end
		list[i] = { key = i, name = "name " .. draw(count), tags = tags,
			    show = function(self) return self.name .. ":" .. table.concat(tags, ",") end }
	end
	return list
end

local function index(list)
	local found = {}
	for _, record in ipairs(list) do
		local same = found[record.name] or {}
		found[record.name] = same
		same[#same + 1] = record
	end
	return found
end

local function each(list)
	return coroutine.wrap(function()
		for _, record in ipairs(list) do
			coroutine.yield(record:show())
		end
	end)
end

local total = 0
for _ = 1, rounds do
	local list = records(30000)
	local lines = {}
	for text in each(list) do
		lines[#lines + 1] = text
	end
	local text = table.concat(lines, ";")
	local back = 0
	for word in text:gmatch("[^;]+") do
		back = back + 1
		total = total + #word:gsub("tag (%d+)", "%1 tag")
	end
	assert(back == #list, "records were lost")
	local names = {}
	for name in pairs(index(list)) do
		names[#names + 1] = name
	end
	table.sort(names)
	total = total + #names
end
print(total)
