// SPDX-License-Identifier: MIT
// Something for a C++ compiler to chew on: the standard library's templates.
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

using Value = std::variant<int, double, std::string, std::vector<std::string>>;

template <int N> struct Level {
	std::map<std::string, std::shared_ptr<Level<N - 1>>> children;
	std::unordered_map<int, Value> values;
	std::array<std::function<int(const Value &)>, N> visitors;

	int walk() const
	{
		int sum = N;

		for (const auto &[name, child] : children)
			sum += static_cast<int>(name.size()) + child->walk();
		for (const auto &[key, value] : values)
			sum += key +
			       std::visit([](const auto &v) { return int(sizeof(v)); }, value);
		return sum;
	}
};

template <> struct Level<0> {
	int walk() const
	{
		return 1;
	}
};

template struct Level<10>;

int words(const std::string &text)
{
	std::vector<std::string> found;

	for (size_t at = 0; at < text.size();) {
		size_t end = std::min(text.find(' ', at), text.size());

		found.emplace_back(text, at, end - at);
		at = end + 1;
	}
	std::stable_sort(found.begin(), found.end(), std::greater<>());
	return std::accumulate(found.begin(), found.end(), 0,
			       [](int n, const std::string &s) { return n + int(s.size()); });
}
