#include "cli/options/connection_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "cli/options/common_options.h"
#include "pq/conninfo.h"

namespace weir::cli {

namespace {

/// One keyword and value in libpq's syntax.
std::string quoted(std::string_view keyword, std::string_view value) {
  std::string text = fmt::format("{}='", keyword);
  for (const char c : value) {
    if (c == '\'' || c == '\\') text += '\\';
    text += c;
  }
  return text + "'";
}

std::string joined(const pq::ConninfoValues& values) {
  std::string text;
  for (const auto& [keyword, value] : values) {
    if (!text.empty()) text += ' ';
    text += quoted(keyword, value);
  }
  return text;
}

}  // namespace

std::string conninfo_of(const Arguments& arguments) {
  std::string text = arguments.text(kDbname).value_or("");
  if (!text.empty() && !is_connection_string(text)) text = quoted("dbname", text);
  auto values = pq::parse_conninfo(text);

  constexpr std::pair<std::string_view, std::string_view> kShort[] = {
      {kHost.name, "host"}, {kPort.name, "port"}, {kUsername.name, "user"}};
  bool merged = false;
  for (const auto& [option, keyword] : kShort) {
    const auto value = arguments.text(option);
    if (!value) continue;
    const auto known = values.find(keyword);
    const auto place = arguments.origin(option);
    if (known != values.end() && known->second != *value && place == arguments.origin(kDbname))
      throw Error(ErrorKind::usage,
                  fmt::format("the {} is given twice, by {} and by {}", keyword,
                              arguments.source(kDbname), arguments.source(option)))
          .with("values", fmt::format("\"{}\" and \"{}\"", known->second, *value));
    // A connection string of the command line wins over a file's host.
    if (known != values.end() && place < arguments.origin(kDbname)) continue;
    values.insert_or_assign(std::string(keyword), *value);
    merged = true;
  }
  if (!merged) return text;

  return joined(values);
}

std::string with_value(const std::string& conninfo, const std::string& keyword,
                       const std::string& value) {
  auto values = pq::parse_conninfo(conninfo);
  values.insert_or_assign(keyword, value);
  return joined(values);
}

std::string ordinary_conninfo(const std::string& conninfo) {
  const auto own = pq::parse_conninfo(conninfo);
  const auto named = own.find("dbname");
  if (named != own.end() && named->second != "replication") return conninfo;
  if (named == own.end() && (std::getenv("PGDATABASE") != nullptr || own.contains("service") ||
                             std::getenv("PGSERVICE") != nullptr))
    return conninfo;
  return with_value(conninfo, "dbname", "postgres");
}

bool has_password(const std::string& conninfo) {
  const auto values = pq::parse_conninfo(conninfo);
  return std::any_of(pq::kSecretKeywords.begin(), pq::kSecretKeywords.end(),
                     [&](const char* keyword) { return values.contains(keyword); });
}

bool is_connection_string(std::string_view text) {
  return text.find('=') != std::string_view::npos || text.starts_with("postgresql://") ||
         text.starts_with("postgres://");
}

std::string required_directory(const Arguments& arguments) {
  const auto directory = arguments.text(kDirectory);
  if (!directory)
    throw Error(ErrorKind::usage, "no archive directory given")
        .hint("Give it with -D DIRECTORY; see --help.");
  return *directory;
}

}  // namespace weir::cli
