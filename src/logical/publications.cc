#include "logical/publications.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "pq/connect_advice.h"

namespace weir::logical {

namespace {

constexpr std::string_view kSpace = " \t\n\r\f\v";
constexpr std::size_t kLongest = 63;  // NAMEDATALEN - 1

void skip_space(std::string_view& text) {
  const auto first = text.find_first_not_of(kSpace);
  text.remove_prefix(first == std::string_view::npos ? text.size() : first);
}

/// The text after the quote that has been consumed; "" is a quote.
std::optional<std::string> take_quoted(std::string_view& text) {
  std::string name;
  for (;;) {
    const auto quote = text.find('"');
    if (quote == std::string_view::npos) return std::nullopt;
    name += text.substr(0, quote);
    text.remove_prefix(quote + 1);
    if (!text.starts_with('"')) return name;
    name += '"';
    text.remove_prefix(1);
  }
}

std::optional<std::string> take_plain(std::string_view& text) {
  const auto end = std::min(text.find_first_of(std::string(kSpace) + ","), text.size());
  if (end == 0) return std::nullopt;
  std::string name(text.substr(0, end));
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  text.remove_prefix(end);
  return name;
}

/// At most kLongest bytes, without splitting a UTF-8 character.
std::string cut(std::string name) {
  if (name.size() <= kLongest) return name;
  std::size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0u) == 0x80u) --end;
  name.resize(end);
  return name;
}

}  // namespace

std::optional<std::vector<std::string>> split_publication_names(std::string_view text) {
  std::vector<std::string> names;
  skip_space(text);
  if (text.empty()) return names;
  for (;;) {
    std::optional<std::string> name;
    if (text.starts_with('"')) {
      text.remove_prefix(1);
      name = take_quoted(text);
    } else {
      name = take_plain(text);
    }
    if (!name) return std::nullopt;
    names.push_back(cut(std::move(*name)));
    skip_space(text);
    if (text.empty()) return names;
    if (!text.starts_with(',')) return std::nullopt;
    text.remove_prefix(1);
    skip_space(text);
  }
}

std::optional<std::string> publication_names_of(const pq::PluginOptions& options) {
  std::optional<std::string> names;
  bool given = false;
  for (const auto& [name, value] : options) {
    if (name != "publication_names") continue;
    if (std::exchange(given, true))
      throw Error(ErrorKind::usage, "publication_names is specified more than once")
          .hint("Specify several publications in one option: publication_names=one,two");
    names = value;
  }
  return names;
}

// pgoutput looks them up at the first change only (LoadPublications() in pgoutput.c). If it then
// skips changes of a missing publication, they would be confirmed and lost.
void require_publications(pq::Connection& connection, const pq::PluginOptions& options) {
  const auto text = publication_names_of(options);
  if (!text) return;
  const auto names = split_publication_names(*text);
  if (!names) return;  // the server reports it
  std::vector<std::string> there;
  for (const auto& row : connection.execute("SELECT pubname FROM pg_catalog.pg_publication"))
    there.push_back(row.at(0).value_or(""));
  std::string missing;
  std::string commands;
  for (const auto& name : *names) {
    if (std::find(there.begin(), there.end(), name) != there.end()) continue;
    missing += fmt::format("{}\"{}\"", missing.empty() ? "" : ", ", name);
    commands += fmt::format("{}CREATE PUBLICATION {} FOR ALL TABLES", commands.empty() ? "" : "; ",
                            pq::sql_identifier(name));
  }
  if (missing.empty()) return;
  const auto database = connection.execute("SELECT pg_catalog.current_database()");
  throw Error(ErrorKind::refused, fmt::format("no such publication: {}", missing))
      .with("database", database.at(0).at(0).value_or(""))
      .with("server", connection.server_name())
      .hint(
          fmt::format("Check the name in pg_publication, and the database. Otherwise create it "
                      "({}, or FOR TABLE ...) before the slot: earlier changes are not published.",
                      commands));
}

Error younger_publication(const Error& error) {
  return Error(ErrorKind::refused, error.message())
      .with_sqlstate(error.sqlstate())
      .hint(
          "The publication was created after these changes, or was recreated: they cannot be "
          "decoded with it. Drop the slot, and start with a new one and a new copy of the tables "
          "(--snapshot-command), or skip the changes: pg_replication_slot_advance() past the time "
          "when the publication was created.");
}

}  // namespace weir::logical
