#include "store/http/credential_texts.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>

#include "base/text.h"
#include "base/units.h"
#include "store/http/answers.h"

namespace weir::store {

namespace {

std::string value_of(const Profile& profile, const std::string& name) {
  const auto found = profile.find(name);
  return found == profile.end() ? std::string() : found->second;
}

std::string string_of(const nlohmann::json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

std::optional<Profile> read_profile(std::string_view text, std::string_view name) {
  std::optional<Profile> profile;
  bool inside = false;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto raw = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto line = trimmed(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      auto section = trimmed(line.substr(1, std::min(line.find(']'), line.size()) - 1));
      if (section.starts_with("profile ")) section = trimmed(section.substr(8));
      inside = section == name;
      if (inside && !profile) profile.emplace();
      continue;
    }
    const auto equals = line.find('=');
    // Indented lines continue a value of several lines, none of which is needed.
    if (!inside || equals == std::string_view::npos || raw.front() == ' ' || raw.front() == '\t')
      continue;
    (*profile)[std::string(trimmed(line.substr(0, equals)))] = trimmed(line.substr(equals + 1));
  }
  return profile;
}

std::optional<Credentials> credentials_of(const Profile& profile) {
  Credentials found;
  found.access_key = value_of(profile, "aws_access_key_id");
  found.secret_key = Secret(value_of(profile, "aws_secret_access_key"));
  found.session_token = Secret(value_of(profile, "aws_session_token"));
  if (found.access_key.empty() || found.secret_key.empty()) return std::nullopt;
  return found;
}

std::optional<std::chrono::sys_seconds> parse_expiration(const std::string& text) {
  struct tm broken {};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &broken);
  if (rest == nullptr) return std::nullopt;
  if (*rest == '.') do
      ++rest;
    while (*rest >= '0' && *rest <= '9');
  const std::string_view zone = rest;
  if (zone != "Z" && zone != "+00:00") return std::nullopt;
  return within_system_clock(std::chrono::sys_seconds(std::chrono::seconds(::timegm(&broken))));
}

std::optional<Credentials> parse_credentials(std::string_view text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto value = [&](const char* name) { return string_of(json, name); };
  Credentials found;
  found.access_key = value("AccessKeyId");
  found.secret_key = Secret(value("SecretAccessKey"));
  found.session_token =
      Secret(value("SessionToken").empty() ? value("Token") : value("SessionToken"));
  if (found.access_key.empty() || found.secret_key.empty()) return std::nullopt;
  if (const auto end = value("Expiration"); !end.empty()) {
    found.expires = parse_expiration(end);
    if (!found.expires) return std::nullopt;
  }
  return found;
}

std::optional<Credentials> parse_token(std::string_view text, std::chrono::sys_seconds now) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto seconds = [&](const char* name) -> std::optional<std::chrono::seconds> {
    const auto found = json.find(name);
    if (found == json.end()) return std::nullopt;
    if (found->is_number_integer()) return std::chrono::seconds(found->get<std::int64_t>());
    if (!found->is_string()) return std::nullopt;
    const auto number = parse_number<std::uint32_t>(found->get<std::string>());
    return number ? std::optional(std::chrono::seconds(*number)) : std::nullopt;
  };
  Credentials found;
  found.kind = Credentials::Kind::token;
  for (const auto* const name : {"access_token", "accessToken"})
    if (const auto token = json.find(name); token != json.end() && token->is_string())
      found.session_token = Secret(token->get<std::string>());
  if (found.session_token.empty()) return std::nullopt;
  if (const auto in = seconds("expires_in"))
    found.expires = now + *in;
  else if (const auto on = seconds("expires_on"))
    found.expires = std::chrono::sys_seconds(*on);
  return found;
}

std::optional<Credentials> parse_sas(std::string_view text) {
  text = trimmed(text);
  if (text.starts_with('?')) text.remove_prefix(1);
  // It becomes a part of a URL as it is.
  const bool good = std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && c != 0x7f && c != '#' && c != '?';
  });
  if (!good) return std::nullopt;
  Credentials found;
  found.kind = Credentials::Kind::sas;
  found.session_token = Secret(std::string(text));
  bool is_signed = false;
  while (!text.empty()) {
    const auto end = std::min(text.find('&'), text.size());
    const auto part = text.substr(0, end);
    if (part.starts_with("sig=") && part.size() > 4) is_signed = true;
    if (part.starts_with("se=")) {
      std::string time;  // colons may be encoded
      for (auto rest = part.substr(3); !rest.empty();) {
        const bool colon = rest.starts_with("%3A") || rest.starts_with("%3a");
        time += colon ? ':' : rest.front();
        rest.remove_prefix(colon ? 3 : 1);
      }
      found.expires = parse_expiration(time);
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return is_signed ? std::optional(std::move(found)) : std::nullopt;
}

Profile parse_connection_string(std::string_view text) {
  Profile values;
  while (!text.empty()) {
    const auto end = std::min(text.find(';'), text.size());
    const auto part = trimmed(text.substr(0, end));
    if (const auto equals = part.find('='); equals != std::string_view::npos)
      values[std::string(part.substr(0, equals))] = part.substr(equals + 1);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return values;
}

std::optional<Credentials> azure_credentials_of(const Profile& profile) {
  if (const auto sas = value_of(profile, "sas_token"); !sas.empty()) return parse_sas(sas);
  Credentials found;
  found.access_key = value_of(profile, "account");
  found.secret_key = Secret(value_of(profile, "key"));
  return found.secret_key.empty() ? std::nullopt : std::optional(std::move(found));
}

std::optional<Credentials> parse_assumed_role(std::string_view xml) {
  pugi::xml_document document;
  if (!document.load_buffer(xml.data(), xml.size())) return std::nullopt;
  const auto given =
      document.document_element().child("AssumeRoleWithWebIdentityResult").child("Credentials");
  Credentials found;
  found.access_key = given.child_value("AccessKeyId");
  found.secret_key = Secret(given.child_value("SecretAccessKey"));
  found.session_token = Secret(given.child_value("SessionToken"));
  found.expires = parse_expiration(given.child_value("Expiration"));
  if (found.access_key.empty() || found.secret_key.empty() || !found.expires) return std::nullopt;
  return found;
}

std::string refusal_of(const Answer& answer) {
  const auto& body = answer.body;
  std::string code;
  std::string message;
  pugi::xml_document document;
  if (const auto json = nlohmann::json::parse(body, nullptr, false); json.is_object()) {
    code = string_of(json, json.contains("error") ? "error" : "code");
    message = string_of(json, json.contains("error") ? "error_description" : "message");
  } else if (document.load_buffer(body.data(), body.size())) {
    const auto error = document.document_element().child("Error");
    code = error.child_value("Code");
    message = error.child_value("Message");
  }
  const auto text = short_text(code + (code.empty() || message.empty() ? "" : ": ") + message);
  return fmt::format("it answered {}{}{}", answer.status, text.empty() ? "" : " ", text);
}

}  // namespace weir::store
