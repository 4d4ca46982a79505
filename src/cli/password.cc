#include "cli/password.h"

#include <cstring>

#include "pq/conninfo.h"

namespace weir::cli {

namespace {

bool mask(char* from, const char* to) {
  if (from == to) return false;
  std::memset(from, '*', static_cast<std::size_t>(to - from));
  return true;
}

/// True if the text from `from` to `to` ends with `end`.
bool ends_with(const char* from, const char* to, std::string_view end) {
  return std::string_view(from, static_cast<std::size_t>(to - from)).ends_with(end);
}

char* skip_spaces(char* at) { return at + std::strspn(at, " \t\r\n\f\v"); }

/// The end of a value in single quotes, in which a backslash protects the next character.
char* end_of_quoted(char* at) {
  while (*at != '\0' && *at != '\'') at += (at[0] == '\\' && at[1] != '\0') ? 2 : 1;
  return at;
}

/// The values of a parameter, in a connection string of that form.
bool mask_values(char* word, const char* name, bool uri) {
  bool found = false;
  for (char* at = std::strstr(word, name); at != nullptr; at = std::strstr(at, name)) {
    at += std::strlen(name);
    char* value = uri ? at : skip_spaces(at);
    if (*value != '=') continue;
    value = uri ? value + 1 : skip_spaces(value + 1);
    if (uri) {
      at = value + std::strcspn(value, "&");
      found |= mask(value, at);
    } else if (*value == '\'') {
      at = end_of_quoted(value + 1);
      found |= mask(value + 1, at);
    } else {
      at = value;
      while (*at != '\0' && std::strchr(" \t\r\n\f\v", *at) == nullptr)
        at += (at[0] == '\\' && at[1] != '\0') ? 2 : 1;
      found |= mask(value, at);
    }
  }
  return found;
}

}  // namespace

bool mask_passwords(char* word) {
  bool found = false;
  char* scheme = std::strstr(word, "://");
  // Also after "--dbname=" or "-d".
  const bool uri = scheme != nullptr &&
                   (ends_with(word, scheme, "postgresql") || ends_with(word, scheme, "postgres"));
  if (scheme != nullptr) {
    // libpq uses the part up to the first '@' before the path as user:password, also if there is a
    // '?' in it (conninfo_uri_parse_options() in fe-connect.c). Other URLs have the same form.
    char* user = scheme + 3;
    char* end = user + std::strcspn(user, "@/");
    if (*end == '@') {
      if (char* colon =
              static_cast<char*>(std::memchr(user, ':', static_cast<std::size_t>(end - user))))
        found |= mask(colon + 1, end);
    }
  }
  for (const auto* name : pq::kSecretKeywords) found |= mask_values(word, name, uri);
  return found;
}

std::string masked(std::string_view text) {
  std::string copy(text);
  mask_passwords(copy.data());
  return copy;
}

}  // namespace weir::cli
